"""Runs whose processes are killed and whose links are cut, and what they end with.

``python -m harness.chaos`` (``make chaos``) goes through random schedules and prints a table.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from harness.relay import Relay
from harness.site import Site, start_cli, write_digits

WAIT_S = 240
DEVICES = 3
ROUNDS = 12
STEPS = 5
# Those whose weights do not depend on who was first.
MODES = ("parallel", "sfl-v1", "sfl-v2", "relay", "u-shaped")
MODES_IN_PARTS = ("parallel", "sfl-v1", "relay")
SETTINGS = {
    "--rounds": ROUNDS,
    "--batch-size": 16,
    "--steps-per-round": STEPS,
    "--partition": "iid",
    "--optimizer": "adam:lr=0.003",
    # One codec that remembers what it did, and one that draws random numbers.
    "--codec-up": "slfac-rd:budget=3kB",
    "--codec-down": "randtopk:ratio=0.2",
    "--seed": 3,
    "--threads": 1,
    "--allow-factories": "harness.dropping",
    "--grace-s": WAIT_S,
}


@dataclass(frozen=True)
class Kill:
    """A process to kill.

    Attributes:
        victim: ``server`` or a device's name.
        lines: How many lines of metrics to wait for; or
        rounds: how many rounds must have ended.
        pause_s: How long after that.
    """

    victim: str
    lines: int = 0
    rounds: int = 0
    pause_s: float = 0.0


@dataclass(frozen=True)
class Schedule:
    """What happens to a run.

    Attributes:
        kills: In order.
        cuts: Bytes after which the links break, counted over all of them.
    """

    kills: tuple[Kill, ...] = ()
    cuts: tuple[int, ...] = ()


@dataclass
class Chaos:
    """One run under a schedule.

    Args:
        site: Keys, bundle and data.
        mode: The way of split learning.
        micro_batches: Parts of a step.
    """

    site: Site
    mode: str = "parallel"
    micro_batches: int = 1
    processes: dict[str, subprocess.Popen[str]] = field(default_factory=dict)
    address: str = "tcp://127.0.0.1:*"

    @property
    def out(self) -> Path:
        """The server's folder."""
        return self.site.root / "out"

    def run(self, schedule: Schedule) -> dict[str, bytes]:
        """Make the run.

        Args:
            schedule: What happens to it.

        Returns:
            The last checkpoint's weights and optimiser, by file name.
        """
        with contextlib.ExitStack() as stack:
            stack.callback(self._stop)
            self._start_server()
            relay = stack.enter_context(Relay(self.address))
            relay.cut_after(*schedule.cuts)
            for name in self.site.names:
                self._start_device(name, relay.address)
            for kill in schedule.kills:
                self._await(kill)
                # The instant of the kill is part of the schedule.
                time.sleep(kill.pause_s)
                self._kill(kill.victim, relay)
            for name, process in self.processes.items():
                _, errors = process.communicate(timeout=WAIT_S)
                assert process.returncode == 0, f"{name}: {errors[-2000:]}"
        newest = max((self.out / "checkpoint").glob("round-*"))
        assert newest.name == f"round-{ROUNDS:06d}"
        return {
            name: (newest / f"{name}.safetensors").read_bytes()
            for name in ("front", "back", "optimizer")
        }

    def events(self) -> list[dict[str, object]]:
        """The run's metrics."""
        lines = (self.out / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def _kill(self, victim: str, relay: Relay) -> None:
        process = self.processes[victim]
        process.kill()
        process.communicate(timeout=WAIT_S)
        if victim == "server":
            # A device that starts now must not meet someone who hangs up: it would blame its key.
            with relay.deaf():
                self._start_server()
        else:
            self._start_device(victim, relay.address)

    def _start_server(self) -> None:
        again = (self.out / "checkpoint").exists()
        how = ["--resume", str(self.out), "--allow-factories", "harness.dropping"]
        if not again:
            pairs = {
                "--bundle": self.site.bundle,
                "--out": self.out,
                "--mode": self.mode,
                "--micro-batches": self.micro_batches,
                **SETTINGS,
            }
            how = [str(part) for pair in pairs.items() for part in pair]
        keys = ("--keys", str(self.site.keys("server")))
        process = start_cli("server", *how, *keys, "--bind", self.address)
        assert process.stderr is not None
        for line in process.stderr:
            if " at tcp://" in line:
                self.address = line.split(" at ")[1].split(",")[0].split()[0]
                break
        else:
            raise AssertionError("the server never said where it listens")
        self.processes["server"] = process

    def _start_device(self, name: str, address: str) -> None:
        self.processes[name] = self.site.device_process(
            name, address, "--reconnect-timeout-s", str(WAIT_S), "--connect-timeout-s", str(WAIT_S)
        )

    def _await(self, kill: Kill) -> None:
        deadline_s = time.monotonic() + WAIT_S
        while time.monotonic() < deadline_s:
            written = self._written()
            rounds = written.count(b'{"event": "round"')
            if written.count(b"\n") >= kill.lines and rounds >= kill.rounds:
                return
            for name, process in self.processes.items():
                assert process.poll() is None, f"{name} ended early: {process.communicate()}"
            # Another process writes the file, and tells nobody.
            time.sleep(0.002)
        raise AssertionError(f"{kill} never came")

    def _written(self) -> bytes:
        try:
            return (self.out / "metrics.jsonl").read_bytes()
        except FileNotFoundError:
            return b""

    def _stop(self) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
                process.communicate()


def random_schedule(seed: int) -> Schedule:
    """Kills of the server and of devices, and cuts, at random instants.

    Args:
        seed: Chooses them.
    """
    rng = random.Random(seed)
    # A line a step and device, a few a round, and those of the beginning.
    last = ROUNDS * (STEPS * DEVICES + 1) - 20
    victims = ["server"] * rng.randint(2, 3) + rng.choices([f"d{i}" for i in range(DEVICES)], k=3)
    rng.shuffle(victims)
    lines = sorted(rng.sample(range(8, last), len(victims)))
    kills = tuple(
        Kill(victim, at, pause_s=rng.uniform(0, 0.05))
        for victim, at in zip(victims, lines, strict=True)
    )
    cuts = tuple(sorted(rng.sample(range(30_000, 600_000), rng.randint(1, 3))))
    return Schedule(kills, cuts)


@contextlib.contextmanager
def fresh_site(bundle: Path, data: Path) -> Iterator[Site]:
    """A site of its own folder."""
    with tempfile.TemporaryDirectory() as folder:
        yield Site.make(Path(folder), bundle, data, DEVICES)


def bundle_with_everything(folder: Path, mode: str = "parallel") -> Path:
    """Dropout and BatchNorm in front, back and, where the mode has one, head; of 12x12 images."""
    if mode == "u-shaped":
        return _export("resting_cnn_in_three", folder, cut="pool", head_cut="pool2", size=12)
    return _export("resting_cnn", folder, cut="pool", size=12)


def bundle_for_parts(folder: Path, mode: str = "parallel") -> Path:
    """A front with dropout, and a back half with the same; images of 8x8."""
    del mode
    return _export("dropping_cnn", folder, cut="relu", size=8)


def _export(model: str, folder: Path, *, cut: str, size: int, head_cut: str = "") -> Path:
    from slfac.export import export_bundle
    from slfac.wire.manifest import Preprocessing

    export_bundle(
        model=f"harness.dropping:{model}",
        kwargs={},
        cut=cut,
        head_cut=head_cut,
        input_shape=(1, size, size),
        out=folder,
        num_classes=10,
        seed=0,
        preprocessing=Preprocessing(scale=1 / 255, mean=(0.5,), std=(0.25,)),
    )
    return folder


def main() -> int:
    """Go through random schedules and print what each run ended with."""
    parser = argparse.ArgumentParser(prog="python -m harness.chaos")
    parser.add_argument("--schedules", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--micro-batches", type=int, default=1)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        parts = args.micro_batches
        make, size = (bundle_for_parts, 8) if parts > 1 else (bundle_with_everything, 12)
        data = write_digits(root / "digits", train=240, test=60, size=size)
        modes = MODES_IN_PARTS if parts > 1 else MODES
        bundles = {mode: make(root / mode, mode) for mode in modes}
        expected = {}
        for mode in modes:
            with fresh_site(bundles[mode], data) as site:
                expected[mode] = Chaos(site, mode, parts).run(Schedule())
        killed = "killed, at line of metrics"
        _say(f"{'schedule':>8} {'mode':8} {killed:60} {'cuts':>4} {'s':>6}  weights")
        for seed in range(args.seed, args.seed + args.schedules):
            schedule, mode = random_schedule(seed), modes[seed % len(modes)]
            start_s = time.monotonic()
            with fresh_site(bundles[mode], data) as site:
                given = Chaos(site, mode, parts).run(schedule)
            same = given == expected[mode]
            kills = " ".join(f"{kill.victim}@{kill.lines}" for kill in schedule.kills)
            took_s = time.monotonic() - start_s
            word = "the same" if same else "DIFFERENT"
            row = {"schedule": seed, "mode": mode, "kills": kills, "cuts": len(schedule.cuts)}
            rows.append({**row, "seconds": round(took_s, 1), "weights": word})
            _say(f"{seed:>8} {mode:8} {kills:60} {len(schedule.cuts):>4} {took_s:>6.1f}  {word}")
    if args.json is not None:
        _write(args, rows)
    return 0 if all(row["weights"] == "the same" for row in rows) else 1


def _write(args: argparse.Namespace, rows: list[dict[str, object]]) -> None:
    from slfac.testbed.collect import machine, versions

    command = f"--schedules {args.schedules} --seed {args.seed}"
    if args.micro_batches > 1:
        command += f" --micro-batches {args.micro_batches}"
    about = {
        "command": f"python -m harness.chaos {command}",
        "date": dt.datetime.now(dt.timezone.utc).date().isoformat(),
        "machine": machine(),
        "versions": versions(),
        "seed": args.seed,
        "devices": DEVICES,
        "rounds": ROUNDS,
        "steps_per_round": STEPS,
        "schedules": rows,
    }
    args.json.write_text(json.dumps(about, indent=2) + "\n")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

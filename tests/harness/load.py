"""How a server's trainer spends its time under ever more devices.

``python -m harness.load`` (``make results-server``) prints a table and writes it as JSON. The
server is this process; the devices are threads of another, which replays recorded payloads.

The trainer is the thread of ``Server.run``. Its wall time from the end of the first round to the
end of the last is taken apart into

- waiting: blocked in the queue of events, with nothing to do before a device asks again,
- codec: reading and decoding smashed data, encoding gradients, as the metrics' ``step`` lines say,
- back half: the training steps, likewise,
- rest: everything else: events, kept replies, metrics, replies, and at a round's end the average
  of the fronts, the checkpoint and its metrics.

The overhead is the rest's share of all that is not waiting.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil

from harness.replay import Payload
from slfac.codec import make_codec
from slfac.export import export_bundle
from slfac.server import Server, server_settings
from slfac.server.events import Event, EventQueue
from slfac.testbed.bench.tensors import FIXTURE
from slfac.testbed.collect import machine, versions
from slfac.wire.bundle import Bundle
from slfac.wire.keys import AllowList, new_keys

CLIENTS = (1, 2, 4, 8, 16, 32, 64)
CODEC = "slfac"
# The back half takes some 30 ms a device on one core of the machines that this was written on.
MODEL: dict[str, Any] = {"channels": [16, 64, 96], "pool_after": [1, 3]}
BATCH = 32
_WAIT_S = 600


@dataclass(frozen=True)
class Load:
    """One run.

    Attributes:
        clients: Devices.
        groups: Training steps looked at, each over all devices.
        bytes_up: Mean bytes of a step's request.
        bytes_down: Mean bytes of its reply.
        group_ms: Wall time per training step of all devices.
        waiting_ms: Of that, the trainer waited for devices.
        codec_ms: Of that, decoding and encoding.
        back_ms: Of that, the back half.
        rest_ms: Of that, everything else.
        overhead: Share of the rest in all that is not waiting.
        rss_first_mb: Resident memory of the server's process at the end of the first round.
        rss_last_mb: The same at the end of the last.
    """

    clients: int
    groups: int
    bytes_up: int
    bytes_down: int
    group_ms: float
    waiting_ms: float
    codec_ms: float
    back_ms: float
    rest_ms: float
    overhead: float
    rss_first_mb: float
    rss_last_mb: float


@dataclass
class Clock:
    """Hears the trainer's events on its thread, and reads the time at each round's end."""

    waited_s: float = 0.0
    marks: list[dict[str, float]] = field(default_factory=list)
    steps: list[dict[str, Any]] = field(default_factory=list)

    def listen(self, event: dict[str, Any]) -> None:
        """Take an event of the metrics."""
        if event["event"] == "step":
            self.steps.append(event)
        elif event["event"] == "round":
            self.marks.append(
                {
                    "wall_s": time.perf_counter(),
                    "waited_s": self.waited_s,
                    "rss_mb": psutil.Process().memory_info().rss / 1e6,
                }
            )

    @contextlib.contextmanager
    def timing_waits(self) -> Iterator[None]:
        """Time what the trainer waits for events."""
        get = EventQueue.get

        def timed(queue: EventQueue, timeout: float) -> Event:
            start_s = time.perf_counter()
            try:
                return get(queue, timeout)
            finally:
                self.waited_s += time.perf_counter() - start_s

        EventQueue.get = timed  # type: ignore[method-assign]
        try:
            yield
        finally:
            EventQueue.get = get  # type: ignore[method-assign]

    def load(self, clients: int, steps_per_round: int) -> Load:
        """What it comes to, the first round left out."""
        spent = {name: self.marks[-1][name] - self.marks[0][name] for name in self.marks[0]}
        groups = steps_per_round * (len(self.marks) - 1)
        steps = [event for event in self.steps if event["round"] > 0]
        times = [event["server_ms"] for event in steps]
        codec_ms = sum(entry["decode"] + entry["encode"] for entry in times)
        # The common step stands in the line of each of its devices.
        back_ms = sum(entry["train"] for entry in times) / clients
        wall_ms, waited_ms = spent["wall_s"] * 1e3, spent["waited_s"] * 1e3
        rest_ms = wall_ms - waited_ms - codec_ms - back_ms
        values = {
            "group_ms": wall_ms / groups,
            "waiting_ms": waited_ms / groups,
            "codec_ms": codec_ms / groups,
            "back_ms": back_ms / groups,
            "rest_ms": rest_ms / groups,
            "rss_first_mb": self.marks[0]["rss_mb"],
            "rss_last_mb": self.marks[-1]["rss_mb"],
        }
        return Load(
            clients=clients,
            groups=groups,
            bytes_up=round(sum(event["bytes_up"] for event in steps) / len(steps)),
            bytes_down=round(sum(event["bytes_down"] for event in steps) / len(steps)),
            overhead=round(rest_ms / (wall_ms - waited_ms), 4),
            **{name: round(value, 2) for name, value in values.items()},
        )


def make_bundle(folder: Path, model: dict[str, Any]) -> Bundle:
    """A CNN cut behind its first pool, as the captures that come with slfac are."""
    return export_bundle(
        model="cnn",
        kwargs=model,
        cut="pool1",
        input_shape=(1, 28, 28),
        out=folder / "bundle",
        num_classes=10,
        seed=0,
    ).bundle


def record(path: Path, bundle: Bundle, *, samples: int, seed: int) -> None:
    """Write three payloads of captured smashed data, as much as fits, encoded, with labels."""
    rng = np.random.default_rng(seed)
    channels, height, width = bundle.manifest.smashed[0].shape
    with np.load(FIXTURE / "cnn.npz") as captured:
        names = sorted(name for name in captured if name.endswith("smashed"))
        whole = np.concatenate([captured[name] for name in names])
    smashed = whole[:, :channels, :height, :width]
    payloads = []
    for _ in range(3):
        x = smashed[rng.integers(0, len(smashed), samples)]
        target = rng.integers(0, 10, samples)
        data = [bytes(make_codec(c).encode(a)) for c, a in ((CODEC, x), ("none", target))]
        payloads.append(Payload(data[0], data[1], samples))
    path.write_bytes(msgspec.msgpack.encode((bundle.id, payloads)))


def measure(
    folder: Path, bundle: Bundle, *, clients: int, steps_per_round: int, rounds: int, seed: int
) -> Load:
    """One run of a server with so many devices.

    Args:
        folder: Empty; for keys, payloads and the run.
        bundle: What it trains.
        clients: How many devices.
        steps_per_round: Steps of each in a round.
        rounds: Rounds, at least two.
        seed: Chooses the payloads.

    Returns:
        What it showed.
    """
    server_key = new_keys(folder / "server", "server")
    for index in range(clients):
        device_key = new_keys(folder / f"d{index}", "device", server_key)
        AllowList(folder / "server").enroll(f"d{index}", device_key)
    record(folder / "payloads", bundle, samples=BATCH, seed=seed)
    settings = server_settings(
        bundle=bundle.path,
        out=folder / "out",
        keys=folder / "server",
        bind="tcp://127.0.0.1:*",
        rounds=rounds,
        steps_per_round=steps_per_round,
        batch_size=BATCH,
        codec_up=CODEC,
        codec_down=CODEC,
        join_timeout_s=_WAIT_S,
        threads=1,
        torch_device="cpu",
        seed=seed,
    )
    clock = Clock()
    with clock.timing_waits(), Server(settings, clock.listen) as server:
        arguments = [server.address, str(folder), str(folder / "payloads"), str(clients)]
        with subprocess.Popen(
            [sys.executable, "-m", "harness.replay", *arguments],
            cwd=Path(__file__).parents[1],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        ) as devices:
            try:
                server.run()
            finally:
                devices.terminate() if not clock.marks else devices.wait(_WAIT_S)
    return clock.load(clients, steps_per_round)


def steps_for(clients: int) -> int:
    """Steps of a round, so that no run takes long, and none is mostly the ends of its rounds."""
    return max(6, 60 // clients)


def table(loads: Sequence[Load]) -> str:
    """The runs as lines for people."""
    columns = (
        *("clients", "group_ms", "waiting_ms", "codec_ms", "back_ms", "rest_ms"),
        *("overhead", "bytes_up", "bytes_down", "rss_first_mb", "rss_last_mb"),
    )
    lines = [" ".join(f"{name:>12}" for name in columns)]
    for load in loads:
        values = asdict(load)
        lines.append(" ".join(f"{values[name]:>12}" for name in columns))
    return "\n".join(lines)


def main() -> int:
    """Go through the numbers of clients, print the table and write it."""
    parser = argparse.ArgumentParser(prog="python -m harness.load")
    parser.add_argument("--clients", default=",".join(map(str, CLIENTS)))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    loads = []
    with tempfile.TemporaryDirectory() as folder:
        bundle = make_bundle(Path(folder), MODEL)
        for clients in map(int, args.clients.split(",")):
            with tempfile.TemporaryDirectory() as own:
                load = measure(
                    Path(own),
                    bundle,
                    clients=clients,
                    steps_per_round=steps_for(clients),
                    rounds=3,
                    seed=args.seed,
                )
            loads.append(load)
            lines = table([load]).splitlines()
            sys.stdout.write("\n".join(lines[len(loads) > 1 :]) + "\n")
            sys.stdout.flush()
    if args.json is not None:
        about = {
            "command": f"python -m harness.load --clients {args.clients} --seed {args.seed}",
            "date": dt.datetime.now(dt.timezone.utc).date().isoformat(),
            "machine": machine(),
            "versions": versions(),
            "seed": args.seed,
            "codec": CODEC,
            "model": MODEL,
            "batch_size": BATCH,
        }
        runs = [asdict(load) for load in loads]
        args.json.write_text(json.dumps({**about, "measurements": runs}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

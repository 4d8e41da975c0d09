"""A whole testbed on this machine: five devices, SSH, a cut link and a killed agent.

``python -m harness.testbed`` (needs root) goes from ``up`` to ``down``, and fails unless the run
finishes, its report tells of both, and nothing is left behind.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import yaml

from harness.sshd import with_sshd
from slfac.testbed.collect import machine, versions
from slfac.testbed.follow import Follower
from slfac.testbed.hosts.emulated import emulated_folder
from slfac.testbed.hosts.facts import revision
from slfac.testbed.hosts.remote.processes import MARK, marked
from slfac.testbed.mnist5k import fetch_mnist5k

NAME = "make-testbed"
CUT, CUT_S, KILLED = "pi-2", 10, "pi-4"
_MOST_S = 1800


def inventory(data: Path, devices: int, rounds: int, steps: int) -> dict:
    return {
        "name": NAME,
        "defaults": {"data": str(data)},
        "server": {"data": str(data)},
        "devices": [{"name": f"pi-{number}"} for number in range(1, devices + 1)],
        "links": {"default": {"rate": "20Mbit", "delay": "20ms"}},
        "run": {
            "model": {"name": "cnn", "cut": "pool1", "input": "1x28x28", "classes": 10},
            "rounds": rounds,
            "steps_per_round": steps,
            "partition": "iid",
            "codec": "slfac",
        },
    }


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def slfac(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "slfac.cli", *map(str, arguments)]


class Standing:
    """What this machine has that a testbed must not leave behind."""

    def __init__(self) -> None:
        self.mounts = _mounts()
        self.interfaces = sorted(path.name for path in Path("/sys/class/net").iterdir())
        self.namespaces = _namespaces()
        self.processes = _processes()

    def left_by(self, later: Standing) -> list[str]:
        left = []
        if later.mounts != self.mounts:
            left.append(f"mounts {later.mounts}, where {self.mounts} were")
        if later.interfaces != self.interfaces:
            left.append(f"interfaces {set(later.interfaces) - set(self.interfaces)}")
        if later.namespaces - self.namespaces:
            left.append(f"{len(later.namespaces - self.namespaces)} network namespaces")
        left += sorted(later.processes - self.processes)
        if emulated_folder(NAME).exists():
            left.append(str(emulated_folder(NAME)))
        return left


def _mounts() -> list[str]:
    """Mounts where emulated hosts have theirs; others of this machine come and go."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [line.split()[4] for line in lines]
    places = ("/run", "/etc", "/proc", str(emulated_folder(NAME)))
    return sorted(point for point in points if point.startswith(places))


def _namespaces() -> set[str]:
    found = set()
    for path in Path("/proc").glob("[0-9]*"):
        # Only those with a process of this testbed: others on this machine come and go.
        if _is_ours(path):
            try:
                found.add(str((path / "ns/net").readlink()))
            except OSError:
                continue
    return found


def _processes() -> set[str]:
    found = set()
    for path in Path("/proc").glob("[0-9]*"):
        if _is_ours(path):
            found.add(f"process {path.name}: {_command(path)}")
    return found


def _command(path: Path) -> str:
    try:
        return (path / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:
        return ""


def _is_ours(path: Path) -> bool:
    if path.name == str(os.getpid()):
        return False
    try:
        environment = (path / "environ").read_bytes()
    except OSError:
        return False
    folder = str(emulated_folder(NAME))
    return f"{MARK}={folder}".encode() in environment or folder in _command(path)


class Trial:
    """One run with its faults.

    Args:
        folder: For the inventory and the results.
        at_step: After how many steps of the devices faults begin.
    """

    def __init__(self, folder: Path, at_step: int) -> None:
        self.file, self.out = folder / "testbed.yaml", folder / "out"
        self._at_step = at_step
        self.faults: list[dict] = []

    def call(self, *arguments: object) -> None:
        say("$ slfac testbed", *arguments)
        subprocess.run(slfac("testbed", *arguments), check=True)

    def run(self) -> None:
        say("$ slfac testbed run --emulate")
        command = slfac("testbed", "run", self.file, "--emulate", "--install", "--out", self.out)
        with subprocess.Popen(command) as process:
            try:
                self._harm(process)
                assert process.wait(_MOST_S) == 0, "the run failed"
            finally:
                if process.poll() is None:
                    process.send_signal(signal.SIGINT)
                    process.wait(120)

    def _harm(self, process: subprocess.Popen) -> None:
        """Cut a link and kill an agent, in the middle of a round."""
        work = emulated_folder(NAME) / "work" / NAME
        follower = Follower(work / "server" / "run" / "out" / "metrics.jsonl")
        steps, deadline_s = 0, time.monotonic() + _MOST_S
        while steps < self._at_step:
            assert process.poll() is None, "the run ended before its faults"
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
            steps += sum(event["event"] == "step" for event in follower.new_events())
        self.call("cut", CUT, "--name", NAME, "--for", f"{CUT_S}s")
        agents = [
            pid
            for pid in marked(work / KILLED / "run")
            if " device " in _command(Path("/proc") / str(pid))
        ]
        for pid in agents:
            os.kill(pid, signal.SIGKILL)
        assert agents, "there was no agent to kill"
        say(f"the link of {CUT} is cut for {CUT_S} s, the agent of {KILLED} killed")


def check(out: Path, rounds: int) -> dict:
    """Whether a run's results tell what happened; the figures of it."""
    events = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    finished = [event for event in events if event["event"] == "round"]
    assert len(finished) == rounds, f"{len(finished)} of {rounds} rounds"
    assert events[-1]["event"] == "end"
    cut = [json.loads(line) for line in (out / "injected.jsonl").read_text().splitlines()]
    assert [one["who"] for one in cut] == [CUT], cut
    resumed = [event["device"] for event in events if event["event"] == "resumed"]
    assert KILLED in resumed, resumed
    agent = [json.loads(x) for x in (out / f"hosts/{KILLED}/events.jsonl").read_text().splitlines()]
    assert [e["signal"] for e in agent if e["event"] == "agent_ended" and "signal" in e] == [
        "SIGKILL"
    ]
    page = (out / "report.html").read_text()
    for words in ("its link was cut for", "agent ended by SIGKILL", "agent started again"):
        assert words in page, words
    facts = json.loads((out / "testbed.json").read_text())
    return {
        "accuracy": finished[-1]["accuracy"],
        "rounds": len(finished),
        "seconds": events[-1]["seconds"],
        "round_s": [round(event["seconds"], 2) for event in finished],
        "cut": cut[0],
        "killed": KILLED,
        "baseline": facts["baseline"],
        "shaper": facts["shaper"],
        "congestion": facts["congestion"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--out", type=Path, default=Path("../runs/testbed"))
    parser.add_argument("--json", type=Path, help="write the figures there")
    args = parser.parse_args()
    with_sshd()
    before, begun_s = Standing(), time.monotonic()
    folder = args.out.resolve() / dt.datetime.now(dt.timezone.utc).strftime("%Y%m%d-%H%M%S")
    folder.mkdir(parents=True)
    trial = Trial(folder, at_step=args.devices * (args.steps + args.steps // 3))
    made = inventory(fetch_mnist5k(), args.devices, args.rounds, args.steps)
    trial.file.write_text(yaml.safe_dump(made, sort_keys=False))
    try:
        trial.call("check", trial.file, "--no-probe")
        trial.call("up", trial.file, "--emulate", "--install")
        trial.run()
        trial.call("status", trial.file, "--emulate")
        found = check(trial.out, args.rounds)
    finally:
        trial.call("down", trial.file, "--emulate")
    trial.call("down", trial.file, "--emulate")
    left = before.left_by(Standing())
    assert left == [], left
    say(f"finished, told of both, and left nothing behind: {trial.out}/report.html")
    if args.json is not None:
        result = {
            "command": "python -m harness.testbed --json ../docs/results/testbed.json",
            "date": dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
            "machine": machine(),
            "versions": versions(),
            "revision": revision(),
            "seed": 0,
            "minutes_in_all": round((time.monotonic() - begun_s) / 60, 1),
            "inventory": made,
            **found,
        }
        args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()

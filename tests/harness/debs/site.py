"""A server on this machine, and what a device needs to train with it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.site import write_digits
from slfac.export import export_bundle
from slfac.testbed.follow import Follower
from slfac.testbed.local import METRICS_NAME
from slfac.testbed.supervisor import Child, Supervisor
from slfac.wire.keys import AllowList, new_keys

STEPS = 5
_START_S = 300.0
_DEVICE = """\
server = "{server}"
keys = "/etc/slfac/keys"
data = "/var/lib/slfac/data"
cache = "/var/lib/slfac/cache"
journal = "/var/lib/slfac/journal"
connect_timeout_s = 600.0
"""


@dataclass(frozen=True)
class Serving:
    """A server that runs.

    Attributes:
        server: Its process.
        follower: Reads what it writes.
    """

    server: Child
    follower: Follower

    def steps(self) -> int:
        """Training steps since the last call."""
        return sum(event["event"] == "step" for event in self.follower.new_events())


@contextmanager
def serving(work: Path, trial: Path, *, host: str) -> Iterator[Serving]:
    """Run a server, and put into a folder what its device needs.

    Args:
        work: For the server's own files.
        trial: What the device's system will see as ``/trial``.
        host: What that system calls this machine's loopback.
    """
    certificate = new_keys(work / "keys", "server")
    own = new_keys(trial / "keys", "device", certificate)
    AllowList(work / "keys").enroll("trial", own)
    data = write_digits(trial / "data", train=600, test=100, size=16)
    bundle = work / "bundle"
    export_bundle(
        model="cnn", kwargs={}, cut="pool1", input_shape=(1, 16, 16), out=bundle, num_classes=10
    )
    arguments = {
        "--bind": "tcp://127.0.0.1:*",
        "--bundle": bundle,
        "--keys": work / "keys",
        "--data": data,
        "--out": work / "run",
        "--rounds": 1,
        "--steps-per-round": STEPS,
        "--batch-size": 16,
        "--partition": "iid",
        "--threads": 1,
        "--join-timeout-s": 7200,
        "--idle-timeout-s": 3600,
    }
    command = [str(part) for pair in arguments.items() for part in pair]
    with Supervisor() as supervisor:
        server = supervisor.start(
            "server", [sys.executable, "-m", "slfac.cli", "server", *command], work / "log", {}
        )
        follower = Follower(work / "run" / METRICS_NAME)
        port = _port(server, follower)
        address = f"tcp://{host}:{port}"
        (trial / "server").write_text(f"{address}\n")
        (trial / "device.toml").write_text(_DEVICE.format(server=address))
        yield Serving(server, follower)


def _port(server: Child, follower: Follower) -> str:
    deadline_s = time.monotonic() + _START_S
    while time.monotonic() < deadline_s and server.process.poll() is None:
        for event in follower.new_events():
            if event["event"] == "run":
                return str(event["address"]).rpartition(":")[2]
        time.sleep(0.2)
    raise RuntimeError(f"the server did not start: {server.last_line()}")

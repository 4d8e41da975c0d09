"""A place where a run can happen: data, keys, a bundle, and the ends that use them."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from slfac.data import write_idx
from slfac.device import DeviceResult, device_settings, run_device
from slfac.device.energy import Host
from slfac.server import RunResult, Server, server_settings
from slfac.wire.keys import AllowList, new_keys

WAIT_S = 60


def write_digits(folder: Path, *, train: int, test: int, size: int, seed: int = 0) -> Path:
    """Ten learnable classes: a fixed random pattern each, with noise, as IDX files."""
    rng = np.random.default_rng(seed)
    patterns = rng.integers(0, 256, (10, size, size))
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in (("train", train), ("t10k", test)):
        labels = np.arange(count) % 10
        rng.shuffle(labels)
        noise = rng.normal(0, 40, (count, size, size))
        images = np.clip(patterns[labels] * 0.6 + 40 + noise, 0, 255).astype(np.uint8)
        write_idx(folder / f"{split}-images-idx3-ubyte", images)
        write_idx(folder / f"{split}-labels-idx1-ubyte", labels.astype(np.uint8))
    return folder


@dataclass
class Site:
    """Folders of one run and of its devices."""

    root: Path
    bundle: Path
    data: Path
    names: list[str]

    @classmethod
    def make(cls, root: Path, bundle: Path, data: Path, devices: int) -> Site:
        names = [f"d{number}" for number in range(devices)]
        server = new_keys(root / "keys" / "server", "server")
        allowed = AllowList(root / "keys" / "server")
        for name in names:
            allowed.enroll(name, new_keys(root / "keys" / name, "device", server))
        return cls(root=root, bundle=bundle, data=data, names=names)

    def keys(self, owner: str) -> Path:
        return self.root / "keys" / owner

    def server(self, **settings: object) -> ServerThread:
        values = {
            "bundle": self.bundle,
            "out": self.root / "out",
            "bind": "tcp://127.0.0.1:*",
            "keys": self.keys("server"),
            "data": self.data,
            "partition": "iid",
            "rounds": 2,
            "batch_size": 16,
            "join_timeout_s": WAIT_S,
            "idle_timeout_s": WAIT_S,
            "threads": 1,
            **settings,
        }
        return ServerThread(values)

    def device(
        self, owner: str, address: str, *, host: Host | None = None, **settings: object
    ) -> DeviceThread:
        values = {
            "server": address,
            "data": self.data,
            "keys": self.keys(owner),
            "cache": self.root / "cache" / owner,
            "journal": self.root / "journal",
            "connect_timeout_s": WAIT_S,
            "reconnect_timeout_s": WAIT_S,
            **settings,
        }
        return DeviceThread(values, host)

    def device_process(self, name: str, address: str, *more: str) -> subprocess.Popen[str]:
        return start_cli(
            *("device", "--server", address, "--data", str(self.data)),
            *("--keys", str(self.keys(name)), "--cache", str(self.root / "cache" / name)),
            *("--journal", str(self.root / "journal")),
            *more,
        )


STARTED: list[subprocess.Popen[str]] = []


def start_cli(*arguments: str) -> subprocess.Popen[str]:
    """Start ``slfac`` as a process of its own; the test that did not end it fails.

    It can import the harness, whose models a server may have to build.
    """
    tests = str(Path(__file__).parents[1])
    process = subprocess.Popen(
        [sys.executable, "-m", "slfac.cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), tests))),
        },
    )
    STARTED.append(process)
    return process


@dataclass
class ServerThread:
    """A server on a thread of its own; ``with`` waits for its end.

    What ``hold`` does with an event, the server waits for.
    """

    values: dict[str, object]
    events: queue.Queue[dict] = field(default_factory=queue.Queue)
    seen: list[dict] = field(default_factory=list)
    result: RunResult | None = None
    error: BaseException | None = None
    wait_s: float = WAIT_S * 2
    hold: Callable[[dict], None] = lambda _: None

    def __enter__(self) -> ServerThread:
        self._server = Server(server_settings(**self.values), self._listen)
        self.address = self._server.address
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(self.wait_s)
        assert not self._thread.is_alive(), "the server did not end"

    def await_event(self, kind: str, **fields: object) -> dict:
        """Wait for a metrics event with these fields."""
        while True:
            event = self.events.get(timeout=WAIT_S)
            if event["event"] == kind and fields.items() <= event.items():
                return event

    def finished(self) -> RunResult:
        if self.error is not None:
            raise self.error
        assert self.result is not None
        return self.result

    def of_kind(self, kind: str) -> list[dict]:
        return [event for event in self.seen if event["event"] == kind]

    def _listen(self, event: dict) -> None:
        self.seen.append(event)
        self.events.put(event)
        self.hold(event)

    def _run(self) -> None:
        try:
            with self._server as server:
                self.result = server.run()
        except BaseException as error:  # noqa: BLE001 - handed to the test
            self.error = error


@dataclass
class DeviceThread:
    """A device on a thread of its own."""

    values: dict[str, object]
    host: Host | None = None
    lines: list[str] = field(default_factory=list)
    result: DeviceResult | None = None
    error: BaseException | None = None

    def start(self) -> DeviceThread:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def finish(self, wait_s: float = WAIT_S * 2) -> DeviceResult:
        self._thread.join(wait_s)
        assert not self._thread.is_alive(), "the device did not end"
        if self.error is not None:
            raise self.error
        assert self.result is not None
        return self.result

    def _run(self) -> None:
        try:
            settings = device_settings(**self.values)
            self.result = run_device(settings, self.lines.append, host=self.host)
        except BaseException as error:  # noqa: BLE001 - handed to the test
            self.error = error


def run_site(
    site: Site, *, wait_s: float = WAIT_S * 2, **settings: object
) -> tuple[ServerThread, list[DeviceResult]]:
    """A whole run: every device of the site against its server."""
    server = site.server(**settings)
    server.wait_s = wait_s
    with server:
        devices = [site.device(name, server.address).start() for name in site.names]
        results = [device.finish(wait_s) for device in devices]
    server.finished()
    return server, results

"""A server of several ranks that torchrun starts, and the devices that train with it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from harness.site import STARTED, WAIT_S, DeviceThread, Site
from slfac.device import DeviceResult


def free_ports(count: int) -> int:
    """The first of so many neighbouring ports that are free."""
    while True:
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            first = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            port: int = first.getsockname()[1]
            for offset in range(1, count):
                stack.enter_context(socket.create_server(("127.0.0.1", port + offset)))
            return port


@dataclass
class Ranks:
    """A torchrun of ``slfac.server``; leaving ``with`` ends it."""

    site: Site
    settings: dict[str, object]
    world: int = 2
    restarts: int = 0
    lines: list[str] = field(default_factory=list)

    def __enter__(self) -> Ranks:
        self.address = f"tcp://127.0.0.1:{free_ports(self.world)}"
        self._changed = threading.Condition()
        values = {
            "--bundle": self.site.bundle,
            "--out": self.out,
            "--bind": self.address,
            "--keys": self.site.keys("server"),
            "--partition": "iid",
            "--threads": 1,
            "--torch-device": "cpu",
            **self.settings,
        }
        options = [str(part) for pair in values.items() for part in pair]
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
                *("--nproc-per-node", str(self.world), "--max-restarts", str(self.restarts)),
                *("-m", "slfac.server", *options),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        STARTED.append(self.process)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        # torchrun ends its processes with itself, but not when it is killed.
        self.process.terminate()
        self.process.wait(WAIT_S)
        self._reader.join(WAIT_S)
        assert self.process.stderr is not None
        self.process.stderr.close()
        STARTED.remove(self.process)

    @property
    def out(self) -> Path:
        return self.site.root / "out"

    def train(self, then: Callable[[Ranks], None] | None = None) -> list[DeviceResult]:
        """All devices of the site, to their end; while they train, something may happen."""
        devices = [self.device(name).start() for name in self.site.names]
        if then is not None:
            then(self)
        results = [device.finish() for device in devices]
        assert self.process.wait(WAIT_S) == 0, "".join(self.lines)[-3000:]
        return results

    def device(self, name: str) -> DeviceThread:
        return self.site.device(name, self.address, journal=self.site.root / "journal" / name)

    def kill(self, rank: int) -> None:
        """As the kernel kills a process when the memory is full."""
        for child in psutil.Process(self.process.pid).children():
            if child.environ().get("RANK") == str(rank):
                child.kill()

    def events(self, rank: int) -> list[dict[str, object]]:
        path = self.out / f"rank-{rank}" / "metrics.jsonl"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def await_events(self, rank: int, kind: str, count: int) -> None:
        deadline_s = time.monotonic() + WAIT_S
        while sum(event["event"] == kind for event in self.events(rank)) < count:
            assert time.monotonic() < deadline_s, "".join(self.lines)[-3000:]
            assert self.process.poll() is None, "".join(self.lines)[-3000:]
            # Another process writes the file, and tells nobody.
            time.sleep(0.005)

    def await_line(self, part: str) -> None:
        with self._changed:
            found = self._changed.wait_for(lambda: any(part in x for x in self.lines), WAIT_S)
        assert found, "".join(self.lines)[-3000:]

    def weights(self, rank: int) -> dict[str, Path]:
        return weights(self.out / f"rank-{rank}")

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._changed:
                self.lines.append(line)
                self._changed.notify_all()


def weights(out: Path) -> dict[str, Path]:
    """Files of the newest checkpoint."""
    newest = max((out / "checkpoint").glob("round-*"))
    return {name: newest / f"{name}.safetensors" for name in ("front", "back", "optimizer")}

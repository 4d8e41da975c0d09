"""Starts an image in QEMU and has it train against a server of this machine."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from slfac.device.image.inject import inject
from slfac.device.image.opened import open_image
from slfac.device.image.settings import KeyTexts, Personal, personal_document
from slfac.device.image.verify.contents import take_boot_files
from slfac.device.image.verify.machine import HOST, Machine, started
from slfac.export import export_bundle
from slfac.testbed.follow import Follower
from slfac.testbed.greyscale import MNIST_SCALING, describe_idx
from slfac.testbed.local import METRICS_NAME
from slfac.testbed.supervisor import Child, Supervisor
from slfac.wire.errors import ImageError, RunError
from slfac.wire.keys import AllowList, device_keys, new_keys, read_public

Status = Callable[[str], None]
_NAME = "verify"
_POLL_S = 0.5
_BATCH = 16
_SERVER_S = 120.0
# Where the data set is on the board: the file system of the partition for data.
_DATA = "slfac-data/"
_REFUSED = "is not enrolled"
_HOPELESS = ("Kernel panic", "emergency mode")
_LAST_LINES = 4


@dataclass
class Verified:
    """What came of starting an image.

    Attributes:
        machine: On what it was started.
        steps: Training steps that the server made with it.
        connected_s: From power-on until the server let it in, or refused it.
        trained_s: From power-on to the last of the steps; None for one that was refused.
        peak_rss_bytes: Memory of the device's process at its peak; None where it did not say.
        qemu_rss_bytes: Memory of QEMU at its peak.
        refused: Whether the server refused its key.
    """

    machine: str
    steps: int = 0
    connected_s: float | None = None
    trained_s: float | None = None
    peak_rss_bytes: int | None = None
    qemu_rss_bytes: int = 0
    refused: bool = False


@dataclass(frozen=True, kw_only=True)
class Trial:
    """How an image is to be tried.

    Attributes:
        copy: A copy of the image, not compressed: settings and data are injected into it.
        machine: What QEMU plays.
        data: IDX folder with a train split.
        steps: Training steps to make.
        stranger: Do not enroll its key: it passes if the server refuses it.
        limit_s: How long it may take from power-on.
        work: A folder for the console and the server's files.
        on_status: Told what goes on.
    """

    copy: Path
    machine: Machine
    data: Path
    steps: int
    stranger: bool
    limit_s: float
    work: Path
    on_status: Status = field(repr=False)


def verify_image(trial: Trial) -> Verified:
    """Start an image and let it train.

    Args:
        trial: How.

    Returns:
        What came of it.

    Raises:
        ImageError: It did not start, or did not train in time; the console's last lines are named.
        RunError: The server failed.
        SlfacError: The settings or data are wrong.
    """
    copy, keys = trial.copy, _make_keys(trial)
    trial.on_status("exporting a model")
    shape, classes = describe_idx(trial.data)
    export_bundle(
        model="cnn",
        kwargs={},
        cut="pool1",
        input_shape=shape,
        out=trial.work / "bundle",
        num_classes=classes,
        seed=0,
        preprocessing=MNIST_SCALING,
    )
    with Supervisor() as supervisor:
        server = supervisor.start("server", _server(trial, keys), trial.work / "server.log", {})
        follower = Follower(trial.work / "run" / METRICS_NAME)
        port = _await_port(server, follower)
        trial.on_status("injecting settings, keys and data")
        _personalise(copy, keys, f"tcp://{HOST}:{port}", trial.data)
        files = trial.work / "boot"
        files.mkdir()
        line = take_boot_files(open_image(copy), trial.machine.files, files)
        trial.on_status(f"starting it on {trial.machine.name}")
        with started(trial.machine, image=copy, files=files, line=line, work=trial.work) as process:
            return _Watch(trial, server, follower, process).until_done()


class _Watch:
    """Follows the guest and the server until one of them has shown what was asked for."""

    def __init__(
        self, trial: Trial, server: Child, follower: Follower, process: subprocess.Popen[bytes]
    ) -> None:
        self._trial = trial
        self._server = server
        self._follower = follower
        self._process = process
        self._began_s = time.monotonic()
        self._found = Verified(machine=trial.machine.name)

    def until_done(self) -> Verified:
        while not self._done():
            self._look()
            if time.monotonic() - self._began_s > self._trial.limit_s:
                raise self._failed(f"it did not get there within {self._trial.limit_s:g} s")
            if self._process.poll() is not None:
                raise self._failed(f"QEMU ended with {self._process.returncode}")
            if any(word in self._console() for word in _HOPELESS):
                raise self._failed("it cannot start")
            time.sleep(_POLL_S)
        return self._found

    def _done(self) -> bool:
        if self._trial.stranger:
            return self._found.refused
        # Its last word tells of its memory.
        return self._server.process.poll() == 0 and self._found.steps >= self._trial.steps

    def _look(self) -> None:
        now_s, found = time.monotonic() - self._began_s, self._found
        with contextlib.suppress(psutil.Error):
            rss = psutil.Process(self._process.pid).memory_info().rss
            found.qemu_rss_bytes = max(found.qemu_rss_bytes, rss)
        for event in self._follower.new_events():
            self._take(event, now_s)
        if not found.refused and _REFUSED in self._server.log.read_text("utf-8", "replace"):
            found.refused = True
            found.connected_s = now_s
            if not self._trial.stranger:
                raise self._failed("the server refused its key, which is enrolled")
        if self._server.process.poll() not in {None, 0}:
            raise RunError(
                f"the server failed: {self._server.last_line()}", f"see {self._server.log}"
            )

    def _take(self, event: dict[str, Any], now_s: float) -> None:
        found = self._found
        if event["event"] == "joined" and found.connected_s is None:
            found.connected_s = now_s
            self._trial.on_status(f"connected {now_s:.0f} s after power-on")
        elif event["event"] == "step":
            found.steps += 1
            found.trained_s = now_s
            self._trial.on_status(
                f"step {found.steps} after {now_s:.0f} s: loss {event['loss']:.3f}"
            )
        elif event["event"] == "device":
            found.peak_rss_bytes = (event["summary"] or {}).get("peak_rss_bytes")

    def _console(self) -> str:
        try:
            return (self._trial.work / "console.txt").read_text("utf-8", "replace")
        except OSError:
            return ""

    def _failed(self, why: str) -> ImageError:
        lines = [line.strip() for line in self._console().splitlines() if line.strip()]
        last = " | ".join(lines[-_LAST_LINES:]) or "it wrote nothing"
        return ImageError(
            f"{self._trial.copy.name} on {self._trial.machine.name}: {why}; its console: {last}",
            f"see {self._trial.work}/console.txt, server.log",
        )


def _make_keys(trial: Trial) -> Path:
    keys = trial.work / "keys"
    certificate = new_keys(keys / "server", "server")
    enrolled = new_keys(keys / "device", "device", certificate)
    if trial.stranger:
        enrolled = new_keys(keys / "other", "device")
    AllowList(keys / "server").enroll(_NAME, enrolled)
    return keys


def _personalise(copy: Path, keys: Path, address: str, data: Path) -> None:
    own = device_keys(keys / "device").own
    personal = Personal(
        hostname=_NAME,
        server=address,
        server_key=read_public(keys / "server" / "server.key").decode(),
        keys=KeyTexts(public=own.public.decode(), secret=own.secret.decode()),
        data=_DATA,
    )
    inject(open_image(copy), personal_document(personal), data=data)


def _server(trial: Trial, keys: Path) -> list[str]:
    arguments = {
        "--bind": "tcp://127.0.0.1:*",
        "--bundle": trial.work / "bundle",
        "--keys": keys / "server",
        "--data": trial.data,
        "--out": trial.work / "run",
        "--rounds": 1,
        "--steps-per-round": trial.steps,
        "--batch-size": _BATCH,
        "--partition": "iid",
        "--threads": 1,
    }
    pairs = [str(part) for pair in arguments.items() for part in pair]
    return [sys.executable, "-m", "slfac.cli", "server", *pairs]


def _await_port(server: Child, follower: Follower) -> str:
    deadline_s = time.monotonic() + _SERVER_S
    while time.monotonic() < deadline_s and server.process.poll() is None:
        for event in follower.new_events():
            if event["event"] == "run":
                return str(event["address"]).rpartition(":")[2]
        time.sleep(_POLL_S)
    raise RunError(f"the server did not start: {server.last_line()}", f"see {server.log}")

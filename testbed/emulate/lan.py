"""An emulated LAN, for whoever uses it: its hosts, its links, and how to cut them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from slfac.testbed.emulate.places import lan_folder, make_folder, owner_of
from slfac.testbed.emulate.plan import SERVER, LanPlan
from slfac.wire.errors import RunError, SettingsError

_ANSWER_S: Final = 10.0
_START_S: Final = 60.0
_END_S: Final = 10.0
_MOST_BYTES: Final = 1 << 20


@dataclass(frozen=True)
class Host:
    """An emulated host.

    Attributes:
        name: Its name: ``server``, ``control``, or a device's.
        address: Its address in the LAN.
        server_address: ``tcp://HOST:PORT`` at which it reaches the server.
        pid: Its first process; 0 where programs run beside all others of this machine.
        namespace: Inode of its network namespace.
    """

    name: str
    address: str
    server_address: str
    pid: int
    namespace: int

    def command(self, program: Sequence[str]) -> list[str]:
        """A command that runs a program in this host; it passes signals on, and dies with it.

        Args:
            program: Program and arguments; no shell is involved.
        """
        if not self.pid:
            return list(program)
        enter = [sys.executable, "-m", "slfac.testbed.emulate.inside"]
        return [*enter, str(self.pid), str(self.namespace), *program]


class Lan:
    """A LAN that is up; leaving its ``with`` block ends it, if it was started here.

    Use :func:`raise_lan` to start one, and :func:`find_lan` for one that is up already.

    Args:
        name: Its name.
        process: Its process, if it ends with this object.

    Attributes:
        name: Its name.
        hosts: Its hosts by their names.
        shaper: What shapes its links: ``tap``, ``kernel`` or ``relay``.
        congestion: TCP's congestion control in its hosts.
        limits: What it cannot do, a sentence each.

    Raises:
        RunError: It does not answer.
    """

    def __init__(self, name: str, process: subprocess.Popen[bytes] | None = None) -> None:
        self.name = name
        self._process = process
        status = self.status()
        self.hosts = {host["name"]: Host(**host) for host in status["hosts"]}
        self.shaper: str = status["shaper"]
        self.congestion: str = status["congestion"]
        self.limits: tuple[str, ...] = tuple(status["limits"])

    def __enter__(self) -> Lan:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            _end(self._process)
            _clean(lan_folder(self.name))

    @property
    def server_address(self) -> str:
        """``tcp://HOST:PORT`` at which the server has to listen in its host."""
        return self.hosts[SERVER].server_address

    def status(self) -> dict[str, Any]:
        """What it is, and each cut so far, with its times in seconds since 1970."""
        return self._ask({"do": "status"})

    def begin(self) -> None:
        """Start the clock of the cuts that the inventory has, also if it runs already."""
        self._ask({"do": "begin"})

    def cut(self, device: str, for_s: float | None = None) -> None:
        """Cut a device's link; what is under way is lost.

        Args:
            device: Its name.
            for_s: Restore it after so long; None leaves it cut.

        Raises:
            SettingsError: There is no such device, or the time is out of range.
        """
        self._ask({"do": "cut", "device": device, "for_s": for_s})

    def restore(self, device: str) -> bool:
        """Mend a device's link; whether it was cut.

        Args:
            device: Its name.

        Raises:
            SettingsError: There is no such device.
        """
        return bool(self._ask({"do": "restore", "device": device})["was_cut"])

    def counters(self) -> dict[str, dict[str, dict[str, float]]]:
        """What each device's link has carried, ``up`` and ``down``.

        The fields are those of :class:`slfac.testbed.emulate.shaping.Traffic`; the shapers
        ``kernel`` and ``relay`` have some of them only.
        """
        counters: dict[str, dict[str, dict[str, float]]] = self._ask({"do": "counters"})["counters"]
        return counters

    def socket_in(self, host: str) -> socket.socket:
        """A TCP socket in a host's network, not connected.

        Args:
            host: The host's name, such as ``control``.

        Raises:
            SettingsError: There is no such host.
        """
        passed: list[int] = []
        self._ask({"do": "socket", "host": host}, passed)
        return socket.socket(fileno=passed[0])

    def _ask(self, request: Mapping[str, Any], passed: list[int] | None = None) -> dict[str, Any]:
        return _ask(self.name, request, passed if passed is not None else [])


def raise_lan(plan: LanPlan, *, tied: bool = True) -> Lan:
    """Start a LAN.

    Args:
        plan: What it is to be like.
        tied: Whether it ends with this process, however that ends, and with the ``with`` block;
            else it stays up until :func:`end_lan`.

    Returns:
        The LAN.

    Raises:
        RunError: It cannot be made, or one of that name is up already.
    """
    log = make_folder(plan.name) / "log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "slfac.testbed.emulate.keeper"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            start_new_session=True,
        )
    assert process.stdin is not None  # noqa: S101 - it is a pipe
    assert process.stdout is not None  # noqa: S101
    try:
        request = {"plan": json.loads(plan.to_json()), "tied": tied}
        process.stdin.write(f"{json.dumps(request)}\n".encode())
        process.stdin.flush()
        if not tied:
            process.stdin.close()
            # Its child goes on.
            process.wait()
        said = _line(process.stdout.fileno())
        if "up" not in said:
            lines = log.read_text("utf-8", "replace").split("\n")
            last = next((line for line in reversed(lines) if line.strip()), "it said nothing")
            raise RunError(
                said.get("error", f"the LAN did not start: {last}"), said.get("remedy", "")
            )
        return Lan(plan.name, process if tied else None)
    except BaseException:
        _end(process)
        if owner_of(plan.name) is None:
            _clean(lan_folder(plan.name))
        raise
    finally:
        process.stdout.close()


def find_lan(name: str) -> Lan:
    """A LAN that is up.

    Args:
        name: Its name.

    Raises:
        RunError: None of that name is up.
    """
    return Lan(name)


def end_lan(name: str) -> bool:
    """End a LAN and everything that runs in it.

    Args:
        name: Its name.

    Returns:
        Whether one was up.

    Raises:
        RunError: Its process does not end.
    """
    owner = owner_of(name)
    if owner is None:
        _clean(lan_folder(name))
        return False
    with contextlib.suppress(RunError):
        _ask(name, {"do": "end"}, [])
    for number in (None, signal.SIGKILL):
        if number is not None and owner:
            with contextlib.suppress(ProcessLookupError):
                os.kill(owner, number)
        deadline_s = time.monotonic() + _END_S
        while time.monotonic() < deadline_s:
            if owner_of(name) is None:
                _clean(lan_folder(name))
                return True
            time.sleep(0.02)
    raise RunError(f"process {owner} of testbed {name} does not end", "end it by hand")


def _ask(name: str, request: Mapping[str, Any], passed: list[int]) -> dict[str, Any]:
    path = lan_folder(name) / "socket"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(_ANSWER_S)
            client.connect(str(path))
            client.sendall(json.dumps(request).encode())
            data, descriptors, _, _ = socket.recv_fds(client, _MOST_BYTES, 1)
            passed += descriptors
            while data and not data.endswith(b"\n"):
                data += client.recv(_MOST_BYTES)
    except (FileNotFoundError, ConnectionRefusedError) as error:
        what = f"no emulated testbed named {name} is up"
        raise RunError(what, "`slfac testbed emulate` makes one") from error
    except OSError as error:
        raise RunError(f"testbed {name} does not answer: {error}") from error
    answer: dict[str, Any] = json.loads(data or b"{}")
    if "error" in answer:
        raise SettingsError(answer["error"], answer["remedy"])
    return answer


def _line(descriptor: int) -> dict[str, Any]:
    """The first line that a LAN's process says, or nothing."""
    data = b""
    deadline_s = time.monotonic() + _START_S
    os.set_blocking(descriptor, False)
    while not data.endswith(b"\n") and time.monotonic() < deadline_s:
        try:
            piece = os.read(descriptor, 4096)
        except BlockingIOError:
            time.sleep(0.01)
            continue
        if not piece:
            break
        data += piece
    said: dict[str, Any] = json.loads(data) if data.endswith(b"\n") else {}
    return said


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a LAN's process politely, then not."""
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()
    process.terminate()
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _clean(folder: Path) -> None:
    """Remove what a LAN that was killed left behind."""
    for name in ("hosts", "lock", "socket", "log"):
        (folder / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()

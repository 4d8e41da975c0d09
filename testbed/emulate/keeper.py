"""The process of a LAN: makes its hosts, passes their packets on, and does what it is told.

It reads its plan from standard input. A LAN that is tied to whoever started it ends when that
input does, however the other process ended; any ends on SIGTERM, or when it is told to.
"""

from __future__ import annotations

import contextlib
import gc
import heapq
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Final

from slfac.testbed.emulate.backend import Backend
from slfac.testbed.emulate.bridged import BridgedLan
from slfac.testbed.emulate.control import Control
from slfac.testbed.emulate.places import lock, make_folder
from slfac.testbed.emulate.plan import LanPlan, plan_from_json
from slfac.testbed.emulate.tapped import TappedLan
from slfac.wire.errors import RunError, SlfacError

_IDLE_S: Final = 60.0
_PRIORITY: Final = -15
_STDIN: Final = 0


class Keeper:
    """A LAN that is up.

    Args:
        plan: What it is to be like.
        backend: Its hosts and links.

    Attributes:
        plan: The same.
        backend: The same.
        cuts: Each cut so far: device, and when it began and ended in seconds since 1970.
        ended: Whether it is to end.
    """

    def __init__(self, plan: LanPlan, backend: Backend) -> None:
        self.plan = plan
        self.backend = backend
        self.cuts: list[dict[str, Any]] = []
        self.ended = False
        self._open: dict[str, dict[str, Any]] = {}
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._begun = 0

    def begin(self) -> None:
        """Start the clock of the cuts that the plan has; one that was started before is stopped."""
        self._begun += 1
        now_s = time.monotonic()
        for link in self.plan.links:
            for at_s, for_s in link.cuts:
                self._at(now_s + at_s, partial(self._planned, self._begun, link.device, for_s))

    def _planned(self, begun: int, device: str, for_s: float) -> None:
        if begun == self._begun:
            self.cut(device, for_s)

    def cut(self, device: str, for_s: float | None) -> None:
        """Cut a device's link.

        Args:
            device: Its name.
            for_s: Restore it after so long; None leaves that to :meth:`restore`.
        """
        self.restore(device)
        self.backend.cut(device)
        entry = {"device": device, "from_s": time.time(), "until_s": None}
        self.cuts.append(entry)
        self._open[device] = entry
        if for_s is not None:

            def mend() -> None:
                # Another cut may have begun meanwhile.
                if self._open.get(device) is entry:
                    self.restore(device)

            self._at(time.monotonic() + for_s, mend)

    def restore(self, device: str) -> bool:
        """Mend a device's link; whether it was cut.

        Args:
            device: Its name.
        """
        entry = self._open.pop(device, None)
        if entry is None:
            return False
        self.backend.restore(device)
        entry["until_s"] = time.time()
        return True

    def run(self, control: Control, *, tied: bool) -> None:
        """Serve until the end.

        Args:
            control: Where it is told what to do.
            tied: Whether it ends with its standard input.
        """
        while not self.ended:
            timeout_s = max(0.0, self._next_s() - time.monotonic())
            watched = [*self.backend.descriptors(), *control.descriptors()]
            ready = select.select([*watched, *[_STDIN] * tied], [], [], timeout_s)[0]
            now_s = time.monotonic()
            if _STDIN in ready and not os.read(_STDIN, 4096):
                return
            mine = set(control.descriptors())
            self.backend.work([fd for fd in ready if fd not in mine and fd != _STDIN], now_s)
            control.work([fd for fd in ready if fd in mine], self)
            while self._later and self._later[0][0] <= now_s:
                heapq.heappop(self._later)[2]()

    def _at(self, when_s: float, do: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._later, (when_s, self._count, do))

    def _next_s(self) -> float:
        times = [time.monotonic() + _IDLE_S]
        if self._later:
            times.append(self._later[0][0])
        next_s = self.backend.next_s()
        return min([*times, next_s] if next_s is not None else times)


def main() -> int:
    """Run a LAN; the first line of output says what it came to, or why there is none."""
    request = json.loads(_line())
    if not request["tied"] and os.fork():
        # Whoever started it has nothing to wait for.
        os._exit(0)
    plan = plan_from_json(json.dumps(request["plan"]))
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        folder = make_folder(plan.name)
        held = lock(folder, plan.made_by)
        if held is None:
            raise RunError(
                f"a testbed named {plan.name} is up already",
                "`slfac testbed emulate FILE --stop` ends it, or set another name",
            )
        return _serve(plan, folder, tied=request["tied"])
    except SlfacError as error:
        with contextlib.suppress(BrokenPipeError):
            _answer({"error": error.what, "remedy": error.remedy})
        return 1


def _serve(plan: LanPlan, folder: Path, *, tied: bool) -> int:
    backend = _make(plan, folder)
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, _PRIORITY)
    gc.freeze()
    gc.disable()
    control = Control(folder / "socket")
    try:
        with contextlib.suppress(_Ended, BrokenPipeError):
            _answer({"up": True})
            Keeper(plan, backend).run(control, tied=tied)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        control.close()
        backend.close()
        for name in ("hosts", "lock", "log"):
            (folder / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            folder.rmdir()
    return 0


def _make(plan: LanPlan, folder: Path) -> Backend:
    """The best that the plan allows and the kernel does."""
    why = ""
    if plan.shaper == "kernel":
        return BridgedLan(plan, folder)
    if plan.shaper != "relay":
        try:
            return TappedLan(plan, folder)
        except RunError as error:
            if plan.shaper != "auto":
                raise
            why = error.what
    # It has threads, and a process with threads must not fork.
    from slfac.testbed.emulate.relayed import RelayedLan  # noqa: PLC0415

    return RelayedLan(plan, why)


def _line() -> bytes:
    """The first line of standard input, and nothing behind it."""
    data = b""
    while not data.endswith(b"\n"):
        piece = os.read(_STDIN, 1 << 16)
        if not piece:
            raise RunError("whoever started this testbed has ended")
        data += piece
    return data


class _Ended(BaseException):
    """SIGTERM."""


def _end(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise _Ended


def _answer(what: dict[str, Any]) -> None:
    os.write(1, f"{json.dumps(what)}\n".encode())
    # Nobody waits for the end of it now.
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)


if __name__ == "__main__":
    sys.exit(main())

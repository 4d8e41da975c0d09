"""What systemd is told: that the agent has begun, what it is doing, and that it is not stuck.

The protocol is that of sd_notify(3): datagrams of ``NAME=VALUE`` lines to the socket that
``NOTIFY_SOCKET`` names. Where systemd did not start this process, nothing is sent.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping

_LONGEST_STATUS = 200


class Notifier:
    """Tells systemd about this process.

    Args:
        environment: Where ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` stand.
        clock_s: A monotonic clock.
    """

    def __init__(
        self,
        environment: Mapping[str, str] = os.environ,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = _address(environment.get("NOTIFY_SOCKET", ""))
        self._every_s = _interval_s(environment)
        self._clock_s = clock_s
        self._next_s = -float("inf")
        # A thread that only moves bytes says nothing about the one that trains.
        self._thread = threading.get_ident()

    def ready(self) -> None:
        """The settings hold, and the agent begins."""
        self._send("READY=1")

    def status(self, line: str) -> None:
        """Say what goes on, for ``systemctl status``.

        Args:
            line: A line for people.
        """
        self._send(f"STATUS={' '.join(line.split())[:_LONGEST_STATUS]}")

    def alive(self) -> None:
        """Keep the watchdog quiet: called by what makes progress, or waits for it on purpose."""
        if self._every_s is None or threading.get_ident() != self._thread:
            return
        now_s = self._clock_s()
        if now_s >= self._next_s:
            self._next_s = now_s + self._every_s
            self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """The agent comes to its end."""
        self._send("STOPPING=1")

    def _send(self, text: str) -> None:
        if self._address is None:
            return
        # Training goes on without systemd; a full queue means that it has been told enough.
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as speaker,
        ):
            speaker.setblocking(False)
            speaker.sendto(text.encode(), self._address)


def _address(named: str) -> str | None:
    """The socket's address; a name that begins with @ is an abstract one."""
    if named.startswith("@"):
        return f"\0{named[1:]}"
    return named if named.startswith("/") else None


def _interval_s(environment: Mapping[str, str]) -> float | None:
    """How often the watchdog is told, a quarter of its patience; None where there is none."""
    whose = environment.get("WATCHDOG_PID", "")
    if whose and whose != str(os.getpid()):
        return None
    try:
        patience_s = int(environment.get("WATCHDOG_USEC", "0")) / 1e6
    except ValueError:
        return None
    return patience_s / 4 if patience_s > 0 else None

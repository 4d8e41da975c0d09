"""A switch between TAP interfaces, each of which may have a shaped link."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from slfac.testbed.emulate.shaping import Direction

_FRAME_BYTES: Final = 2048
_AT_ONCE: Final = 64
_GROUP_BIT: Final = 1


@dataclass(frozen=True)
class Port:
    """Where a host is plugged in.

    Attributes:
        name: The host's name.
        tap: Descriptor of its TAP interface.
        hardware: Its Ethernet address.
        up: Link from it; None for none that shapes.
        down: Link to it.
    """

    name: str
    tap: int
    hardware: bytes
    up: Direction | None = None
    down: Direction | None = None


class Switch:
    """Passes frames on between ports. Frames for a group go to all.

    Args:
        ports: Where hosts are plugged in.

    Attributes:
        ports: The same by their descriptors.
    """

    def __init__(self, ports: Iterable[Port]) -> None:
        self.ports = {port.tap: port for port in ports}
        self._by_hardware = {port.hardware: port for port in self.ports.values()}
        self._shaped = [port for port in self.ports.values() if port.up or port.down]

    @property
    def next_s(self) -> float | None:
        """When something is to be passed on; None while nothing is under way."""
        times = [
            direction.next_s
            for port in self._shaped
            for direction in (port.up, port.down)
            if direction is not None and direction.next_s is not None
        ]
        return min(times, default=None)

    def take_in(self, taps: Iterable[int], now_s: float) -> None:
        """Read what hosts have sent.

        Args:
            taps: Descriptors that can be read.
            now_s: The time.
        """
        for tap in taps:
            port = self.ports[tap]
            with contextlib.suppress(BlockingIOError):
                for _ in range(_AT_ONCE):
                    frame = os.read(tap, _FRAME_BYTES)
                    if port.up is not None:
                        port.up.offer(frame, now_s)
                    else:
                        self._cross(frame, port, now_s)

    def pass_on(self, now_s: float) -> None:
        """Hand on what is through its link.

        Args:
            now_s: The time.
        """
        for port in self._shaped:
            if port.up is not None:
                for frame in port.up.take(now_s):
                    self._cross(frame, port, now_s)
        for port in self._shaped:
            if port.down is not None:
                for frame in port.down.take(now_s):
                    _deliver(frame, port)

    def _cross(self, frame: bytes, source: Port, now_s: float) -> None:
        target = self._by_hardware.get(frame[:6])
        if target is not None:
            _plug(frame, target, now_s)
        elif frame and frame[0] & _GROUP_BIT:
            for port in self.ports.values():
                if port is not source:
                    _plug(frame, port, now_s)


def _plug(frame: bytes, port: Port, now_s: float) -> None:
    if port.down is not None:
        port.down.offer(frame, now_s)
    else:
        _deliver(frame, port)


def _deliver(frame: bytes, port: Port) -> None:
    # A host whose interface is down, or whose queue is full, loses it, as on a real wire.
    with contextlib.suppress(OSError):
        os.write(port.tap, frame)

"""Hosts whose interfaces are TAP devices, with links shaped by this process."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from slfac.testbed.emulate import linux
from slfac.testbed.emulate.hosts import INTERFACE, Hosts
from slfac.testbed.emulate.plan import LanPlan, PlannedLink
from slfac.testbed.emulate.shaping import Direction
from slfac.testbed.emulate.switch import Port, Switch
from slfac.wire.errors import RunError

_LIMITS: Final = (
    "a process of this machine passes every packet on: some 300 Mbit/s of all links together",
)


class TappedLan:
    """A LAN of namespaces and TAP interfaces.

    Args:
        plan: What it is to be like.
        folder: For its files.

    Attributes:
        facts: What it came to.

    Raises:
        RunError: The kernel does not let this user have one.
    """

    def __init__(self, plan: LanPlan, folder: Path) -> None:
        self._hosts = Hosts(plan, folder)
        self._taps: list[int] = []
        try:
            self._switch = self._plug_in(plan)
            self.facts = self._hosts.facts("tap", _LIMITS)
        except OSError as error:
            self.close()
            what = f"no host can be made: {error.strerror} ({error.filename or '/dev/net/tun'})"
            raise RunError(what, "run it as root, or set emulate.shaper to relay") from error

    def _plug_in(self, plan: LanPlan) -> Switch:
        links = {link.device: link for link in plan.links}
        ports = []
        for index, name in enumerate(self._hosts.numbers):
            with self._hosts.inside(name):
                tap = linux.open_tap(INTERFACE)
                self._taps.append(tap)
                hardware = self._hosts.configure(name)
            link = links.get(name)
            ways = both_ways(link, plan.seed, index) if link is not None else (None, None)
            ports.append(Port(name, tap, hardware, *ways))
        self._ports = {port.name: port for port in ports}
        return Switch(ports)

    def descriptors(self) -> Iterable[int]:
        """Descriptors to wait for."""
        return self._switch.ports

    def next_s(self) -> float | None:
        """When to call :meth:`work` at the latest."""
        return self._switch.next_s

    def work(self, ready: Iterable[int], now_s: float) -> None:
        """Pass frames on.

        Args:
            ready: Descriptors that can be read.
            now_s: The time.
        """
        self._switch.pass_on(now_s)
        self._switch.take_in(ready, now_s)

    def cut(self, device: str) -> None:
        """Cut a device's link.

        Args:
            device: Its name.
        """
        for direction in self._directions(device):
            direction.cut()

    def restore(self, device: str) -> None:
        """Mend a device's link.

        Args:
            device: Its name.
        """
        for direction in self._directions(device):
            direction.restore()

    def counters(self) -> Mapping[str, Mapping[str, Any]]:
        """What each device's link has carried, ``up`` and ``down``."""
        counted = {}
        for name, port in self._ports.items():
            if port.up is not None and port.down is not None:
                counted[name] = {"up": asdict(port.up.traffic), "down": asdict(port.down.traffic)}
        return counted

    def socket_in(self, host: str) -> socket.socket:
        """A TCP socket in a host's network, not connected.

        Args:
            host: The host's name.
        """
        return self._hosts.socket_in(host)

    def close(self) -> None:
        """End all hosts."""
        for tap in self._taps:
            os.close(tap)
        self._hosts.close()

    def _directions(self, device: str) -> list[Direction]:
        port = self._ports[device]
        return [direction for direction in (port.up, port.down) if direction is not None]


def both_ways(link: PlannedLink, seed: int, number: int) -> tuple[Direction, Direction]:
    """The directions of a link, up and down: they lose packets independently of each other.

    Args:
        link: What it is to be like.
        seed: Seed of the LAN.
        number: Which host it leads to.
    """
    up, down = (
        Direction(
            bit_per_s=bit_per_s,
            delay_s=link.delay_s,
            jitter_s=link.jitter_s,
            loss=link.loss,
            queue_s=link.queue_s,
            seed=2 * (seed * 1000 + number) + way,
        )
        for way, bit_per_s in enumerate((link.up_bit_per_s, link.down_bit_per_s))
    )
    return up, down

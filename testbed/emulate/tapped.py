"""Hosts whose interfaces are TAP devices, with links shaped by this process."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from slfac.testbed.emulate import linux
from slfac.testbed.emulate.backend import Facts, HostFacts
from slfac.testbed.emulate.host import MadeHost, become_root, make_host
from slfac.testbed.emulate.plan import CONTROL, SERVER, LanPlan, PlannedLink
from slfac.testbed.emulate.shaping import Direction
from slfac.testbed.emulate.switch import Port, Switch
from slfac.wire.addresses import join_address
from slfac.wire.errors import RunError

INTERFACE: Final = "eth0"
_MASK: Final = "255.255.255.0"
_FIRST_DEVICE: Final = 11
LIMITS: Final = (
    "a process of this machine passes every packet on: some 300 Mbit/s of all links together",
)


def addresses(plan: LanPlan) -> dict[str, str]:
    """The address of each host: nobody outside sees them, so that they are always the same.

    Args:
        plan: The LAN.
    """
    names = {SERVER: 1, CONTROL: 2}
    names |= {link.device: _FIRST_DEVICE + n for n, link in enumerate(plan.links)}
    return {name: f"10.77.0.{number}" for name, number in names.items()}


def hardware_of(address: str) -> bytes:
    """Ethernet address of a host, one that nobody else gives away.

    Args:
        address: Its IPv4 address.
    """
    return b"\x02\x5f" + socket.inet_aton(address)


def write_names(plan: LanPlan, folder: Path) -> Path:
    """Write what all hosts have as ``/etc/hosts``.

    Args:
        plan: The LAN.
        folder: Where to write it.
    """
    lines = ["127.0.0.1 localhost"]
    lines += [f"{address} {name}" for name, address in addresses(plan).items()]
    file = folder / "hosts"
    file.write_text("\n".join([*lines, ""]), "ascii")
    return file


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
        self._hosts: dict[str, MadeHost] = {}
        self._taps: list[int] = []
        self._home = -1
        try:
            become_root()
            self._home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            names = write_names(plan, folder)
            for name in addresses(plan):
                self._hosts[name] = make_host(name, names, plan.congestion)
            self._switch = self._plug_in(plan)
        except OSError as error:
            self.close()
            what = f"no host can be made: {error.strerror} ({error.filename or '/dev/net/tun'})"
            raise RunError(what, "run it as root, or set emulate.shaper to relay") from error
        except RunError:
            self.close()
            raise
        self.facts = self._facts(plan)

    def _plug_in(self, plan: LanPlan) -> Switch:
        numbers = addresses(plan)
        links = {link.device: link for link in plan.links}
        ports = []
        for index, (name, host) in enumerate(self._hosts.items()):
            with self._inside(host):
                tap = linux.open_tap(INTERFACE)
                self._taps.append(tap)
                hardware = hardware_of(numbers[name])
                linux.configure(INTERFACE, numbers[name], _MASK, hardware)
                for other, address in numbers.items():
                    if other != name:
                        linux.add_neighbour(INTERFACE, address, hardware_of(address))
            link = links.get(name)
            seeds = [2 * (plan.seed * 1000 + index) + way for way in (0, 1)]
            up = _direction(link, link.up_bit_per_s, seeds[0]) if link else None
            down = _direction(link, link.down_bit_per_s, seeds[1]) if link else None
            ports.append(Port(name, tap, hardware, up, down))
        self._ports = {port.name: port for port in ports}
        return Switch(ports)

    @contextlib.contextmanager
    def _inside(self, host: MadeHost) -> Iterator[None]:
        """This process in a host's network; it goes on where it was."""
        linux.set_namespace(host.network, linux.CLONE_NEWNET)
        try:
            yield
        finally:
            linux.set_namespace(self._home, linux.CLONE_NEWNET)

    def _facts(self, plan: LanPlan) -> Facts:
        numbers = addresses(plan)
        reached = join_address(numbers[SERVER], plan.listen)
        hosts = tuple(
            HostFacts(name, numbers[name], reached, host.pid, os.fstat(host.network).st_ino)
            for name, host in self._hosts.items()
        )
        return Facts("tap", self._hosts[SERVER].congestion, hosts, LIMITS)

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
        with self._inside(self._hosts[host]):
            return socket.socket(socket.AF_INET, socket.SOCK_STREAM)

    def close(self) -> None:
        """End all hosts."""
        for tap in self._taps:
            os.close(tap)
        for host in self._hosts.values():
            host.close()
        if self._home >= 0:
            os.close(self._home)

    def _directions(self, device: str) -> list[Direction]:
        port = self._ports[device]
        return [direction for direction in (port.up, port.down) if direction is not None]


def _direction(link: PlannedLink, bit_per_s: float | None, seed: int) -> Direction:
    return Direction(
        bit_per_s=bit_per_s,
        delay_s=link.delay_s,
        jitter_s=link.jitter_s,
        loss=link.loss,
        queue_s=link.queue_s,
        seed=seed,
    )

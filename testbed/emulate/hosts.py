"""All hosts of a LAN, without anything between them yet."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from slfac.testbed.emulate import linux
from slfac.testbed.emulate.backend import Facts, HostFacts
from slfac.testbed.emulate.host import MadeHost, become_root, make_host
from slfac.testbed.emulate.plan import CONTROL, SERVER, LanPlan
from slfac.wire.addresses import join_address
from slfac.wire.errors import RunError

INTERFACE: Final = "eth0"
SWITCH: Final = "switch"
_MASK: Final = "255.255.255.0"
_FIRST_DEVICE: Final = 11


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


class Hosts:
    """The hosts of a LAN.

    Args:
        plan: The LAN.
        folder: For its files.

    Attributes:
        numbers: Each host's address.

    Raises:
        RunError: The kernel does not let this user have any.
    """

    def __init__(self, plan: LanPlan, folder: Path) -> None:
        self._plan = plan
        self._made: dict[str, MadeHost] = {}
        self._home = -1
        self.numbers = addresses(plan)
        try:
            become_root()
            self._home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            self._names = self._write_names(folder)
            for name in self.numbers:
                self.add(name)
        except OSError as error:
            self.close()
            what = f"no host can be made: {error.strerror} ({error.filename})"
            raise RunError(what, "run it as root, or set emulate.shaper to relay") from error
        except RunError:
            self.close()
            raise

    def add(self, name: str) -> None:
        """Make one more.

        Args:
            name: Its name.

        Raises:
            RunError: The kernel refuses.
        """
        self._made[name] = make_host(name, self._names, self._plan.congestion)

    def pid(self, name: str) -> int:
        """A host's first process.

        Args:
            name: Its name.
        """
        return self._made[name].pid

    @contextlib.contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """This process in a host's network; it goes on where it was.

        Args:
            name: The host's name.
        """
        linux.set_namespace(self._made[name].network, linux.CLONE_NEWNET)
        try:
            yield
        finally:
            linux.set_namespace(self._home, linux.CLONE_NEWNET)

    def configure(self, name: str) -> bytes:
        """Give a host's interface, in whose network this process is, its addresses.

        Args:
            name: The host's name.

        Returns:
            The interface's Ethernet address.
        """
        hardware = hardware_of(self.numbers[name])
        linux.configure(INTERFACE, self.numbers[name], _MASK, hardware)
        for other, address in self.numbers.items():
            if other != name:
                linux.add_neighbour(INTERFACE, address, hardware_of(address))
        return hardware

    def socket_in(self, name: str) -> socket.socket:
        """A TCP socket in a host's network, not connected.

        Args:
            name: The host's name.
        """
        with self.inside(name):
            return socket.socket(socket.AF_INET, socket.SOCK_STREAM)

    def facts(self, shaper: str, limits: Sequence[str]) -> Facts:
        """What to tell of them.

        Args:
            shaper: What shapes their links.
            limits: What it cannot do.
        """
        reached = join_address(self.numbers[SERVER], self._plan.listen)
        hosts = tuple(
            HostFacts(
                name,
                address,
                reached,
                self._made[name].pid,
                os.fstat(self._made[name].network).st_ino,
            )
            for name, address in self.numbers.items()
        )
        return Facts(shaper, self._made[SERVER].congestion, hosts, tuple(limits))

    def close(self) -> None:
        """End them all."""
        for host in self._made.values():
            host.close()
        self._made = {}
        if self._home >= 0:
            os.close(self._home)
            self._home = -1

    def _write_names(self, folder: Path) -> Path:
        """Write what all hosts have as ``/etc/hosts``."""
        lines = ["127.0.0.1 localhost"]
        lines += [f"{address} {name}" for name, address in self.numbers.items()]
        file = folder / "hosts"
        file.write_text("\n".join([*lines, ""]), "ascii")
        return file

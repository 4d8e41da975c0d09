"""Where each host of a testbed is, and who to be there."""

from __future__ import annotations

import ipaddress
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import slfac
from slfac.testbed.inventory import THIS_MACHINE, AnyHost, Inventory
from slfac.wire.errors import SettingsError

#: What the server's host goes by.
SERVER: Final = "server"


@dataclass(frozen=True, kw_only=True)
class Target:
    """A host, as far as it takes to reach it.

    Attributes:
        name: What the testbed calls it.
        host: Its address for SSH; None for this machine, without SSH.
        port: Of SSH.
        user: Who to log in as; None for SSH's own choice.
        key: Private key; None for those of the SSH agent and ``~/.ssh``.
        known_hosts: Public keys of hosts.
        python: The Python there.
        work: Folder there for all testbeds.
        program: slfac there, where that is known before: on this machine.
        socket: Makes a socket that can reach it; None for an ordinary one.
    """

    name: str
    host: str | None
    port: int
    user: str | None
    key: Path | None
    known_hosts: Path
    python: str
    work: str
    program: tuple[str, ...] | None = None
    socket: Callable[[], socket.socket] | None = None

    @property
    def where(self) -> str:
        """Where it is, for people."""
        return "this machine" if self.host is None else f"{self.host} port {self.port}"


def targets_of(inventory: Inventory) -> list[Target]:
    """All hosts of an inventory, the server's first.

    Args:
        inventory: The inventory.

    Raises:
        SettingsError: A host has no address, or devices cannot reach the server's.
    """
    server = inventory.server
    if server.host == THIS_MACHINE and server.address is None:
        far = next((d for d in inventory.devices if not is_loopback(d.host)), None)
        if far is not None:
            raise SettingsError(
                f"{inventory.file}: server.host is {THIS_MACHINE!r}, where {far.name} cannot "
                "reach it",
                "give this machine's address on the network as server.address",
            )
    found = [_target(inventory, SERVER, server, server.host)]
    return found + [_target(inventory, d.name, d, d.host) for d in inventory.devices]


def is_loopback(host: str | None) -> bool:
    """Whether an address leads to the machine that uses it.

    Args:
        host: An address or name.
    """
    if host is None or host == THIS_MACHINE:
        return host == THIS_MACHINE
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def server_endpoint(inventory: Inventory, host: str | None = None, port: int | None = None) -> str:
    """Where devices find the server.

    Args:
        inventory: The inventory.
        host: Where it is, if that is not what the inventory says.
        port: Its port, likewise.

    Returns:
        ``tcp://HOST:PORT``.
    """
    host = host or inventory.server.reached_at or THIS_MACHINE
    where = f"[{host}]" if ":" in host else host
    where = "127.0.0.1" if where == THIS_MACHINE else where
    return f"tcp://{where}:{port or inventory.server.listen}"


def _target(inventory: Inventory, name: str, host: AnyHost, address: str | None) -> Target:
    if address is None:
        field = "server.host" if name == SERVER else f"the host of device {name}"
        raise SettingsError(
            f"{inventory.file}: {field} is missing",
            "give the address that SSH reaches, or add --emulate to make all hosts here",
        )
    is_here = name == SERVER and address == THIS_MACHINE
    return Target(
        name=name,
        host=None if is_here else address,
        port=host.port,
        user=host.user,
        key=host.key,
        known_hosts=inventory.known_hosts,
        python=sys.executable if is_here else host.python,
        work=host.work,
        program=own_program() if is_here else None,
    )


def own_program() -> tuple[str, ...]:
    """The slfac that is running, as a program for other processes of this machine."""
    place = str(Path(slfac.__file__).parents[1])
    code = (
        f"import sys; sys.path.insert(0, {place!r}); from slfac.cli import main; sys.exit(main())"
    )
    return sys.executable, "-c", code

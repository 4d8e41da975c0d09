"""Looks at hosts from outside: do they answer on SSH's port, and is the server's port free?"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from slfac.device.doctor.finding import Finding
from slfac.testbed.inventory.hosts import THIS_MACHINE
from slfac.testbed.inventory.model import Inventory

_TIMEOUT_S: Final = 3.0
_AT_A_TIME: Final = 16
_BANNER: Final = b"SSH-"
_EMULATED: Final = "has no host, so that it can only be emulated"


def probe(inventory: Inventory) -> Iterator[Finding]:
    """Look at every host.

    Args:
        inventory: The hosts.

    Yields:
        What was found: the server first, then the devices in their order.
    """
    server = inventory.server
    tries: list[Callable[[], Finding]] = []
    hosts = [(device.name, device.host, device.port) for device in inventory.devices]
    if server.host == THIS_MACHINE:
        tries.append(lambda: Finding("ok", "server", "this machine, without SSH"))
    else:
        hosts.insert(0, ("server", server.host, server.port))
    for name, host, port in hosts:
        tries.append(lambda n=name, h=host, p=port: _ssh(n, h, p))  # type: ignore[misc]
    tries.insert(1, lambda: _listen(inventory))
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        yield from pool.map(lambda look: look(), tries)


def _ssh(name: str, host: str | None, port: int) -> Finding:
    if host is None:
        return Finding("unknown", name, _EMULATED, "give its host to use a real one")
    where = f"{host} port {port}"
    try:
        with socket.create_connection((host, port), _TIMEOUT_S) as tried:
            greeting = tried.recv(256)
    except (OSError, UnicodeError) as error:
        return Finding(
            "failed",
            name,
            f"SSH cannot be reached at {where}: {_why(error)}",
            "check that it is on, its address, and that SSH runs there",
        )
    if not greeting.startswith(_BANNER):
        return Finding("failed", name, f"{where} answers, but not as SSH does", "check its port")
    version = greeting.split(b"\r")[0].split(b"\n")[0].decode("ascii", "replace")
    return Finding("ok", name, f"{where}: {version}")


def _listen(inventory: Inventory) -> Finding:
    """Whether the port on which the server is to listen is still free."""
    host, port = inventory.server.reached_at, inventory.server.listen
    if host is None:
        return Finding("unknown", "listen", f"the server {_EMULATED}")
    where = f"{host} port {port}"
    try:
        with socket.create_connection((host, port), _TIMEOUT_S):
            pass
    except ConnectionRefusedError:
        return Finding("ok", "listen", f"{where} is free, and no firewall hides it from here")
    except (OSError, UnicodeError) as error:
        return Finding(
            "warning",
            "listen",
            f"{where} cannot be told to be free: {_why(error)}",
            "a firewall may keep devices from it: open the port",
        )
    return Finding(
        "failed", "listen", f"something listens at {where} already", "end it, or set server.listen"
    )


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {_TIMEOUT_S:g} s"
    return getattr(error, "strerror", None) or str(error)

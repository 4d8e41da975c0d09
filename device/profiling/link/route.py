"""Through which interface of this machine an address is reached."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass
from pathlib import Path

import psutil

from slfac.wire.addresses import is_loopback, split_address


@dataclass(frozen=True)
class Route:
    """How a peer is reached.

    Attributes:
        interface: Such as ``wlan0``; empty where the system does not tell.
        is_local: Whether the peer is on this machine, so that no radio or cable carries anything.
        is_wireless: Whether that interface is a Wi-Fi's.
    """

    interface: str
    is_local: bool
    is_wireless: bool


def route_to(address: str, root: Path = Path("/")) -> Route:
    """Ask the system how it would send to an address; nothing is sent.

    Args:
        address: ``tcp://HOST:PORT``.
        root: Of the file system.
    """
    host, port = split_address(address)
    own, theirs = "", host
    with contextlib.suppress(OSError, UnicodeError):
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        family, _, _, _, place = infos[0]
        with socket.socket(family, socket.SOCK_DGRAM) as asked:
            asked.connect(place)
            own, theirs = str(asked.getsockname()[0]), str(place[0])
    # The addresses of link-local networks are followed by their interface.
    own, theirs = own.partition("%")[0], theirs.partition("%")[0]
    names = [
        name
        for name, addresses in psutil.net_if_addrs().items()
        if own and own in (held.address.partition("%")[0] for held in addresses)
    ]
    interface = names[0] if names else ""
    wireless = bool(interface) and (root / "sys/class/net" / interface / "wireless").is_dir()
    return Route(interface, is_loopback(theirs) or own == theirs, wireless)

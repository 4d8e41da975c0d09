"""What a server makes known of itself on its network by mDNS (RFC 6762, RFC 6763).

An offer is a hint where to connect, which anyone on the network can make: it is bounded and
checked like everything from there, and it lets nobody in. Who the server is, CURVE proves.
"""

from __future__ import annotations

import hashlib
import importlib
import re
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import psutil
from zmq.utils import z85

from slfac.wire.addresses import check_server_address, is_loopback, join_address
from slfac.wire.errors import LinkError, MissingExtraError, SlfacError

if TYPE_CHECKING:
    from zeroconf import ServiceInfo, Zeroconf

SERVICE: Final = "_slfac._tcp.local."
_MOST_ADDRESSES: Final = 32
_RUN: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}", re.ASCII)
_FINGERPRINT: Final = re.compile(r"([0-9a-f]{64})?", re.ASCII)
_LABEL: Final = re.compile(r"[ -~]{1,63}", re.ASCII)


@dataclass(frozen=True)
class Offer:
    """A server that says it is there.

    Attributes:
        name: What it calls itself.
        run: Id of its run.
        fingerprint: Of its public key, as :func:`fingerprint` gives it; empty without keys.
        software: Release of slfac.
        addresses: Where it says it listens, ``tcp://HOST:PORT`` each.
    """

    name: str
    run: str
    fingerprint: str
    software: str
    addresses: tuple[str, ...]

    def properties(self) -> dict[str, str | bytes | None]:
        """The strings of its TXT record."""
        return {
            "txtvers": "1",
            "run": self.run,
            "key": self.fingerprint,
            "slfac": self.software,
        }


def fingerprint(public: bytes) -> str:
    """The SHA-256 of a public key, in hexadecimal digits.

    Args:
        public: The key in Z85.
    """
    return hashlib.sha256(z85.decode(public)).hexdigest()


def read_offer(info: ServiceInfo) -> Offer | None:
    """What a service on the network offers, or None where that is nothing of use.

    Args:
        info: As zeroconf gives it.
    """
    run, key, software = (
        (info.properties.get(field) or b"").decode("ascii", "replace")
        for field in (b"run", b"key", b"slfac")
    )
    name = info.name.removesuffix(f".{SERVICE}")
    fits = _RUN.fullmatch(run) and _FINGERPRINT.fullmatch(key) and _LABEL.fullmatch(name)
    if not fits or not (software == "" or _LABEL.fullmatch(software)):
        return None
    addresses = []
    for host in info.parsed_scoped_addresses()[:_MOST_ADDRESSES]:
        try:
            addresses.append(check_server_address(join_address(host, info.port or 0)))
        except SlfacError:
            continue
    return Offer(name, run, key, software, tuple(addresses)) if addresses else None


def require_zeroconf() -> None:
    """Check that the package is there, before anything begins that needs it.

    Raises:
        MissingExtraError: It is not.
    """
    try:
        importlib.import_module("zeroconf")
    except ImportError as error:
        raise MissingExtraError(
            f"a package is missing: {error}",
            "install slfac with its extra 'discovery': pip install 'slfac[discovery]', or "
            "'.[discovery]' in its source folder; or do without, and give devices the server's "
            "address: --server ADDRESS",
        ) from error


def open_zeroconf(interfaces: list[str | int] | None = None) -> Zeroconf:
    """Take part in mDNS.

    Args:
        interfaces: Addresses of the interfaces to do so on; None for all.

    Returns:
        zeroconf's own object, to be closed.

    Raises:
        MissingExtraError: The package zeroconf is not installed.
        LinkError: No interface can be used.
    """
    require_zeroconf()
    import zeroconf  # noqa: PLC0415 - only those who discover need it

    chosen = interfaces if interfaces is not None else _interfaces()
    both = any(isinstance(one, int) for one in chosen)
    version = zeroconf.IPVersion.All if both else zeroconf.IPVersion.V4Only
    try:
        return zeroconf.Zeroconf(interfaces=chosen, ip_version=version)
    except (OSError, RuntimeError) as error:
        raise LinkError(
            f"no network interface can be used for mDNS: {error}",
            "check the network, or do without: --server ADDRESS",
        ) from error


def _interfaces() -> list[str | int]:
    """IPv4 addresses, and numbers of the interfaces with IPv6, as zeroconf takes them."""
    up = {name for name, state in psutil.net_if_stats().items() if state.isup}
    found: dict[str | int, None] = {}
    for name, addresses in psutil.net_if_addrs().items():
        for one in addresses:
            if name in up and one.family == socket.AF_INET:
                found[one.address] = None
            # Loopback has no multicast of IPv6; to try each time fills the log.
            elif name in up and one.family == socket.AF_INET6 and not is_loopback(one.address):
                found[socket.if_nametoindex(name)] = None
    return [*found]

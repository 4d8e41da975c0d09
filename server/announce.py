"""Making a server known on its network, so that devices need not be told its address."""

from __future__ import annotations

import contextlib
import logging
import re
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import psutil

from slfac import __version__
from slfac.wire.addresses import is_everywhere, is_loopback, join_address, split_address
from slfac.wire.discovery import SERVICE, Offer, fingerprint, open_zeroconf
from slfac.wire.errors import LinkError

if TYPE_CHECKING:
    from zeroconf import Zeroconf

# The interface that a loopback server is announced on; IPv6's has no multicast.
_LOOPBACK: Final = "127.0.0.1"
_MOST_HOST: Final = 40
_log = logging.getLogger(__name__)


@contextlib.contextmanager
def announced(address: str, *, run: str, key: bytes | None) -> Iterator[None]:
    """Make a server known while the context lasts.

    A network that cannot be used is a warning: devices that are given the address still come.

    Args:
        address: Where it listens, port included.
        run: Id of its run.
        key: Its public key in Z85; None without keys.

    Raises:
        MissingExtraError: The package zeroconf is not installed.
    """
    offer = make_offer(address, run=run, key=key)
    local = all(is_loopback(split_address(one)[0]) for one in offer.addresses)
    with contextlib.ExitStack() as opened:
        try:
            service = opened.enter_context(
                contextlib.closing(open_zeroconf([_LOOPBACK] if local else None))
            )
            _register(service, offer)
            _log.info("announced as %s at %s", offer.name, ", ".join(offer.addresses))
        except LinkError as error:
            _log.warning("not announced, so devices need --server: %s", error)
        yield


def make_offer(address: str, *, run: str, key: bytes | None) -> Offer:
    """What a server says of itself.

    Args:
        address: Where it listens, port included.
        run: Id of its run.
        key: Its public key in Z85; None without keys.

    Returns:
        The offer, with every address of this machine where it listens on all.
    """
    host, port = split_address(address)
    hosts = own_addresses(ipv6=":" in host) if is_everywhere(host) else [host]
    label = re.sub(r"[^a-z0-9-]+", "-", socket.gethostname().lower()).strip("-")[:_MOST_HOST]
    return Offer(
        name=f"{label or 'server'}-{run}"[:63],
        run=run,
        fingerprint=fingerprint(key) if key is not None else "",
        software=__version__,
        addresses=tuple(join_address(one, port) for one in hosts),
    )


def own_addresses(*, ipv6: bool) -> list[str]:
    """This machine's addresses, those of loopback only where there are no others.

    Args:
        ipv6: Whether those of IPv6 count.

    Returns:
        IPv4 first; a link-local one with its interface.
    """
    families = [socket.AF_INET, *([socket.AF_INET6] if ipv6 else [])]
    up = {name for name, state in psutil.net_if_stats().items() if state.isup}
    found = [
        _with_zone(one.address, name)
        for family in families
        for name, addresses in psutil.net_if_addrs().items()
        for one in addresses
        if one.family == family and name in up
    ]
    return [host for host in found if not is_loopback(host)] or [_LOOPBACK]


def _with_zone(host: str, interface: str) -> str:
    bare = host.partition("%")[0]
    return f"{bare}%{interface}" if bare.lower().startswith("fe80:") else bare


def _register(service: Zeroconf, offer: Offer) -> None:
    import zeroconf  # noqa: PLC0415 - only those who announce need it

    places = [split_address(one) for one in offer.addresses]
    info = zeroconf.ServiceInfo(
        SERVICE,
        f"{offer.name}.{SERVICE}",
        port=places[0][1],
        properties=offer.properties(),
        # A name of its own: the host's may be answered for by another program.
        server=f"slfac-{offer.run}.local.",
        # Which link a link-local address is of, the receiver knows by where it came from.
        parsed_addresses=[host.partition("%")[0] for host, _ in places],
    )
    try:
        service.register_service(info, allow_name_change=True)
    except (OSError, zeroconf.Error, TimeoutError) as error:
        raise LinkError(f"mDNS failed: {type(error).__name__} {error}") from error

"""Addresses of servers, ``tcp://HOST:PORT``: checked, taken apart, put together.

An IPv6 address stands in brackets; a link-local one names the interface as well, as in
``tcp://[fe80::1%eth0]:5555`` (RFC 4007), for every network has its own ``fe80::``.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

from slfac.wire.errors import AddressError, ProtocolError, SettingsError

_ADDRESS: Final = re.compile(
    r"tcp://(?:\[(?P<ipv6>[0-9a-fA-F:.]+(?:%[\w.-]+)?)\]|(?P<name>[A-Za-z0-9.*_-]+))"
    r":(?P<port>\d{1,5}|\*)",
    re.ASCII,
)
_EVERYWHERE: Final = ("*", "0.0.0.0", "::")  # noqa: S104 - what a server may listen on
_EXAMPLE: Final = "write tcp://HOST:PORT, such as tcp://10.0.0.5:5555 or tcp://[fd00::5]:5555"


def check_address(address: str, *, insecure: bool = False) -> str:
    """Check an address to listen on, or to connect to.

    Args:
        address: ``tcp://HOST:PORT``, IPv6 in brackets.
        insecure: Whether it will be used without CURVE; only loopback may.

    Returns:
        The address.

    Raises:
        AddressError: It is malformed.
        SettingsError: It is not loopback but ``insecure``.
    """
    host = _parsed(address)[0]
    if insecure and not is_loopback(host):
        raise SettingsError(
            f"insecure is set, but {address} is not a loopback address",
            "make keys with `slfac keys new`, or use tcp://127.0.0.1:PORT",
        )
    return address


def check_server_address(address: str, *, insecure: bool = False) -> str:
    """Check an address that a device is to connect to.

    Args:
        address: ``tcp://HOST:PORT``, IPv6 in brackets.
        insecure: Whether it will be used without CURVE; only loopback may.

    Returns:
        The address.

    Raises:
        AddressError: It is malformed, or is no one machine's.
        SettingsError: It is not loopback but ``insecure``.
    """
    check_address(address, insecure=insecure)
    host, port = _parsed(address)
    number = _number(host)
    is_group = number is not None and number.is_multicast
    if host in _EVERYWHERE or is_group or port in ("*", "0"):
        raise AddressError(
            f"address {address!r} is no server's",
            "give the server's own address and port, such as tcp://10.0.0.5:5555",
        )
    return address


def split_address(address: str) -> tuple[str, int]:
    """Host and port of an address; port ``*`` is 0.

    Args:
        address: ``tcp://HOST:PORT``.

    Returns:
        The host, IPv6 without brackets, and the port.

    Raises:
        AddressError: It is malformed.
    """
    host, port = _parsed(address)
    return host, int(port.replace("*", "0"))


def join_address(host: str, port: int) -> str:
    """An address from its parts.

    Args:
        host: A name or an address, IPv6 without brackets.
        port: The port.
    """
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


def sent_on(address: str, reached: str) -> str:
    """Where a server that was reached sends a device.

    Args:
        address: What it says; host ``*`` is the one that it was reached at.
        reached: The address that it was reached at.

    Returns:
        The address to connect to.

    Raises:
        ProtocolError: What it says is no server's address.
    """
    try:
        host, port = split_address(address)
        if host == "*":
            host = split_address(reached)[0]
        return check_server_address(join_address(host, port))
    except AddressError as error:
        what = f"the server at {reached} sends this device on: {error.what}"
        raise ProtocolError(what) from error


def is_everywhere(host: str) -> bool:
    """Whether a server that listens on a host listens on all addresses of its machine.

    Args:
        host: As :func:`split_address` gives it.
    """
    return host in _EVERYWHERE


def is_number(host: str) -> bool:
    """Whether a host is an address itself, and no name for one.

    Args:
        host: As :func:`split_address` gives it.
    """
    return _number(host) is not None


def is_loopback(host: str) -> bool:
    """Whether a host is the machine itself, whichever that is.

    Args:
        host: As :func:`split_address` gives it.
    """
    if host == "localhost":
        return True
    address = _number(host)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return address is not None and (mapped or address).is_loopback


def _parsed(address: str) -> tuple[str, str]:
    match = _ADDRESS.fullmatch(address)
    port = match["port"] if match is not None else ""
    if match is None or (port != "*" and int(port) > 65535):
        raise AddressError(f"address {address!r} is malformed", _EXAMPLE)
    if match["ipv6"] is None:
        return match["name"], port
    number = _number(match["ipv6"])
    if number is None or number.version != 6:
        raise AddressError(f"address {address!r} is malformed", _EXAMPLE)
    if number.is_link_local and "%" not in match["ipv6"]:
        raise AddressError(
            f"address {address!r} is of one link, and does not say of which",
            f"name the interface: tcp://[{match['ipv6']}%eth0]:{port}; `ip link` lists them",
        )
    return match["ipv6"], port


def _number(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None

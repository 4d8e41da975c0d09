"""Where something that people or programs look at listens: ``[HOST:]PORT``."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from slfac.wire.errors import SettingsError

_ADDRESS = re.compile(r"(?:(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):)?(\d{1,5})", re.ASCII)


@dataclass(frozen=True)
class ListenAddress:
    """A host and a port.

    Attributes:
        host: Name or address, without brackets.
        port: 0 takes any free one.
    """

    host: str
    port: int

    def __str__(self) -> str:
        """As it stands in a URL."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        return is_loopback(self.host)


def parse_listen(text: str) -> ListenAddress:
    """Read ``PORT`` or ``HOST:PORT``.

    Args:
        text: Such as ``8080``, ``0.0.0.0:8080`` or ``[::1]:8080``.

    Returns:
        The address; without a host, 127.0.0.1.

    Raises:
        SettingsError: It is malformed.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match[2]) > 65535:
        raise SettingsError(
            "it is no address to listen on", "write PORT or HOST:PORT, such as 8080 or 0.0.0.0:8080"
        )
    return ListenAddress((match[1] or "127.0.0.1").strip("[]"), int(match[2]))


def is_loopback(host: str) -> bool:
    """Whether a host is this machine's own loopback.

    Args:
        host: Name or address, without brackets; names other than localhost are not looked up.
    """
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def named_host(header: str | None) -> str:
    """The host in a request's ``Host`` header, without port and brackets.

    Args:
        header: The header; None where there is none.
    """
    text = (header or "").strip()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0]


def check_listen(text: str) -> ListenAddress | None:
    """Check a setting that says where to listen.

    Args:
        text: ``[HOST:]PORT``, or empty.

    Returns:
        The address; None for an empty text.

    Raises:
        SettingsError: It is malformed.
    """
    return parse_listen(text) if text else None

"""What a LAN's process asks of whatever makes hosts and shapes their links."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class HostFacts:
    """A host, for whoever wants to run something in it.

    Attributes:
        name: Its name.
        address: Its address.
        server_address: ``tcp://HOST:PORT`` at which it reaches the server.
        pid: Its first process; 0 where programs run beside all others of this machine.
        namespace: Inode of its network namespace, which tells whether that process is still it.
    """

    name: str
    address: str
    server_address: str
    pid: int = 0
    namespace: int = 0


@dataclass(frozen=True)
class Facts:
    """What a LAN came to.

    Attributes:
        shaper: What shapes its links.
        congestion: TCP's congestion control in its hosts.
        hosts: Its hosts.
        limits: What it cannot do, a sentence each.
    """

    shaper: str
    congestion: str
    hosts: tuple[HostFacts, ...]
    limits: tuple[str, ...] = field(default=())


class Backend(Protocol):
    """Hosts and links."""

    facts: Facts

    def descriptors(self) -> Iterable[int]:
        """Descriptors to wait for."""

    def next_s(self) -> float | None:
        """When to call :meth:`work` at the latest."""

    def work(self, ready: Iterable[int], now_s: float) -> None:
        """Do what there is to do.

        Args:
            ready: Descriptors that can be read.
            now_s: The time.
        """

    def cut(self, device: str) -> None:
        """Cut a device's link.

        Args:
            device: Its name.
        """

    def restore(self, device: str) -> None:
        """Mend a device's link.

        Args:
            device: Its name.
        """

    def counters(self) -> Mapping[str, Mapping[str, Any]]:
        """What each device's link has carried, ``up`` and ``down``."""

    def socket_in(self, host: str) -> socket.socket:
        """A TCP socket in a host's network, not connected.

        Args:
            host: The host's name.
        """

    def close(self) -> None:
        """End all hosts."""

"""The LAN of those who may not make hosts: all on loopback, each device behind a TCP relay."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from typing import Any, Final

from slfac.testbed.emulate.backend import Facts, HostFacts
from slfac.testbed.emulate.linux import CONGESTION, get_sysctl
from slfac.testbed.emulate.plan import CONTROL, SERVER, LanPlan
from slfac.testbed.link import LinkRate
from slfac.testbed.paced import PacedRelay
from slfac.wire.addresses import join_address
from slfac.wire.errors import RunError

_LOOPBACK: Final = "127.0.0.1"
# A link without a limit: more than loopback does.
_UNLIMITED_BIT_PER_S: Final = 1e11
LIMITS: Final = (
    "hosts have no network, processes or files of their own: all run beside one another",
    "only TCP from a device to the server is shaped; SSH to a host is not emulated",
    "no packets are lost and none vary in delay: loss and jitter are left out",
    "a cut holds data instead of losing it, and rates do not count headers",
)


class RelayedLan:
    """A LAN of relays.

    Args:
        plan: What it is to be like; loss and jitter are left out.
        why: Why there are no hosts instead; empty where none were asked for.

    Attributes:
        facts: What it came to.

    Raises:
        RunError: No port of loopback can be had.
    """

    def __init__(self, plan: LanPlan, why: str = "") -> None:
        server = join_address(_LOOPBACK, _free_port())
        rates = [
            LinkRate(
                link.up_bit_per_s or _UNLIMITED_BIT_PER_S,
                link.down_bit_per_s or _UNLIMITED_BIT_PER_S,
                link.delay_s,
            )
            for link in plan.links
        ]
        self._relay = PacedRelay(server, rates)
        self._relay.__enter__()
        self._index = {link.device: number for number, link in enumerate(plan.links)}
        reached = dict.fromkeys((SERVER, CONTROL), server)
        reached |= dict(zip(self._index, self._relay.addresses, strict=True))
        hosts = tuple(HostFacts(name, _LOOPBACK, at) for name, at in reached.items())
        self.facts = Facts("relay", get_sysctl(CONGESTION), hosts, (*[why] * bool(why), *LIMITS))

    def descriptors(self) -> Iterable[int]:
        """Nothing: the relay has a thread of its own."""
        return ()

    def next_s(self) -> float | None:
        """Never: the relay has a thread of its own."""
        return None

    def work(self, ready: Iterable[int], now_s: float) -> None:
        """Nothing: the relay has a thread of its own.

        Args:
            ready: Descriptors that can be read.
            now_s: The time.
        """

    def cut(self, device: str) -> None:
        """Hold what a device's link carries.

        Args:
            device: Its name.
        """
        self._relay.cut(self._index[device])

    def restore(self, device: str) -> None:
        """Let a device's link carry again.

        Args:
            device: Its name.
        """
        self._relay.restore(self._index[device])

    def counters(self) -> Mapping[str, Mapping[str, Any]]:
        """What each device's link has carried, ``up`` and ``down``."""
        counted = {}
        for device, index in self._index.items():
            up, down = self._relay.passed_bytes(index)
            counted[device] = {"up": {"sent_bytes": up}, "down": {"sent_bytes": down}}
        return counted

    def socket_in(self, host: str) -> socket.socket:
        """A TCP socket, not connected.

        Args:
            host: Ignored: all hosts have one network.
        """
        del host
        return socket.socket(socket.AF_INET, socket.SOCK_STREAM)

    def close(self) -> None:
        """End all relays."""
        self._relay.__exit__(None, None, None)


def _free_port() -> int:
    try:
        with socket.create_server((_LOOPBACK, 0)) as listener:
            port: int = listener.getsockname()[1]
            return port
    except OSError as error:
        raise RunError(f"no port of loopback can be had: {error.strerror}") from error

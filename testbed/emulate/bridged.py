"""Hosts on a bridge of the kernel's, with links shaped by the kernel."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from slfac.testbed.emulate.hosts import INTERFACE, SWITCH, Hosts
from slfac.testbed.emulate.kernel import BRIDGE, counted, queue_of, run
from slfac.testbed.emulate.plan import LanPlan
from slfac.wire.errors import RunError

_LIMITS: Final = (
    "the kernel counts all drops as one: losses, and what waited for too long",
    "netem draws losses and jitter anew in every run, and jitter may swap packets",
)
_FORWARDING, _DISABLED = "3", "0"


class BridgedLan:
    """A LAN of namespaces on a bridge, with ``tbf`` or ``netem`` on both ends of each link.

    Args:
        plan: What it is to be like.
        folder: For its files.

    Attributes:
        facts: What it came to.

    Raises:
        RunError: The kernel does not let this user have one, or lacks ``netem``.
    """

    def __init__(self, plan: LanPlan, folder: Path) -> None:
        self._hosts = Hosts(plan, folder)
        try:
            self._hosts.add(SWITCH)
            self._connect(plan)
            self.facts = self._hosts.facts("kernel", _LIMITS)
        except OSError as error:
            self.close()
            raise RunError(f"links cannot be made: {error.strerror}") from error
        except RunError:
            self.close()
            raise

    def _connect(self, plan: LanPlan) -> None:
        self._ports = {name: f"p{number}" for number, name in enumerate(self._hosts.numbers)}
        self._devices = [link.device for link in plan.links]
        with self._hosts.inside(SWITCH):
            run("ip", "link", "add", BRIDGE, "type", "bridge")
            run("ip", "link", "set", BRIDGE, "up")
            for name, port in self._ports.items():
                peer = ("peer", "name", INTERFACE, "netns", str(self._hosts.pid(name)))
                run("ip", "link", "add", port, "type", "veth", *peer)
                run("ip", "link", "set", port, "master", BRIDGE, "up")
                _send_as_on_a_wire(port)
        for name in self._ports:
            with self._hosts.inside(name):
                self._hosts.configure(name)
                _send_as_on_a_wire(INTERFACE)
        for link in plan.links:
            for place, interface, rate in (
                (link.device, INTERFACE, link.up_bit_per_s),
                (SWITCH, self._ports[link.device], link.down_bit_per_s),
            ):
                queue = queue_of(link, rate)
                if queue:
                    with self._hosts.inside(place):
                        run("tc", "qdisc", "add", "dev", interface, "root", *queue)

    def descriptors(self) -> Iterable[int]:
        """Nothing: the kernel does it all."""
        return ()

    def next_s(self) -> float | None:
        """Never: the kernel does it all."""
        return None

    def work(self, ready: Iterable[int], now_s: float) -> None:
        """Nothing: the kernel does it all.

        Args:
            ready: Descriptors that can be read.
            now_s: The time.
        """

    def cut(self, device: str) -> None:
        """Cut a device's link.

        Args:
            device: Its name.
        """
        self._switch_port(device, _DISABLED)

    def restore(self, device: str) -> None:
        """Mend a device's link.

        Args:
            device: Its name.
        """
        self._switch_port(device, _FORWARDING)

    def _switch_port(self, device: str, state: str) -> None:
        # The bridge drops what comes and goes; the interface stays up, as behind a switch.
        with self._hosts.inside(SWITCH):
            run("bridge", "link", "set", "dev", self._ports[device], "state", state)

    def counters(self) -> Mapping[str, Mapping[str, Any]]:
        """What each device's link has carried, ``up`` and ``down``."""
        found: dict[str, dict[str, Any]] = {}
        for device in self._devices:
            with self._hosts.inside(device):
                found[device] = {"up": counted(INTERFACE)}
            with self._hosts.inside(SWITCH):
                found[device]["down"] = counted(self._ports[device])
        return found

    def socket_in(self, host: str) -> socket.socket:
        """A TCP socket in a host's network, not connected.

        Args:
            host: The host's name.
        """
        return self._hosts.socket_in(host)

    def close(self) -> None:
        """End all hosts; their interfaces go with them."""
        self._hosts.close()


def _send_as_on_a_wire(interface: str) -> None:
    """Have the interface send packets of its own size: merged ones would pass a rate's burst."""
    size = ("gso_max_segs", "1", "gso_max_size", "1500")
    run("ip", "link", "set", interface, *size)

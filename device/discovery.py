"""Finding the server on the network: where to connect, never whom to trust."""

from __future__ import annotations

import contextlib
import math
import queue
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from slfac.device.connection import UnreachableError
from slfac.device.routes import KNOCK_S, choose
from slfac.wire.addresses import is_loopback, split_address
from slfac.wire.discovery import SERVICE, Offer, fingerprint, open_zeroconf, read_offer
from slfac.wire.errors import LinkError
from slfac.wire.keys import DeviceKeys

REMEDY: Final = (
    "check that the server runs with --announce, that both are on one network, and that multicast "
    "(UDP port 5353) passes its access point and firewalls; or give its address: --server ADDRESS"
)
# Answers come within 0.2 s; a second server's may be the later one.
_SETTLE_S: Final = 1.0
_LOOK_S: Final = 10.0
# After a break the server is first looked for where it was.
_TRY_S: Final = 20.0
_LOOK_AGAIN_S: Final = 5.0
_PAUSE_S: Final = 0.5
_MOST: Final = 64


def browse(timeout_s: float, is_wanted: Callable[[Offer], bool]) -> list[Offer]:
    """Servers that make themselves known.

    Args:
        timeout_s: How long to listen.
        is_wanted: Ends it, a second after the first offer for which it is true.

    Returns:
        All that were found.

    Raises:
        MissingExtraError: The package zeroconf is not installed.
        LinkError: No network interface can be used.
    """
    found: dict[str, Offer] = {}
    names: queue.SimpleQueue[str] = queue.SimpleQueue()
    with contextlib.closing(open_zeroconf()) as service:
        import zeroconf  # noqa: PLC0415 - only those who discover need it

        def note(*, name: str, state_change: zeroconf.ServiceStateChange, **_: Any) -> None:
            if state_change is not zeroconf.ServiceStateChange.Removed:
                names.put(name)

        zeroconf.ServiceBrowser(service, SERVICE, handlers=[note])
        end_s, settled_s = time.monotonic() + timeout_s, math.inf
        while len(found) < _MOST and (left_s := min(end_s, settled_s) - time.monotonic()) > 0:
            try:
                name = names.get(timeout=left_s)
            except queue.Empty:
                break
            try:
                info = service.get_service_info(SERVICE, name, timeout=math.ceil(left_s * 1e3))
            except zeroconf.Error:
                # Anyone can send a name that is none.
                continue
            offer = read_offer(info) if info is not None else None
            if offer is not None:
                found[name] = offer
                if is_wanted(offer):
                    settled_s = min(settled_s, time.monotonic() + _SETTLE_S)
    return [*found.values()]


class Wanted:
    """Which offers are of servers that a device may connect to.

    Args:
        keys: The device's keys; None on loopback without keys.
    """

    def __init__(self, keys: DeviceKeys | None) -> None:
        self._fingerprint = fingerprint(keys.server) if keys is not None else ""

    def __call__(self, offer: Offer) -> bool:
        """Whether an offer is of the right key, and can be reached as it must be."""
        return offer.fingerprint == self._fingerprint and bool(self.addresses(offer))

    def addresses(self, offer: Offer) -> list[str]:
        """Where the offer may be taken up: without keys, on loopback only.

        Args:
            offer: The offer.
        """
        return [
            address
            for address in offer.addresses
            if self._fingerprint or is_loopback(split_address(address)[0])
        ]


class Discovered:
    """Where to connect to a server whose address was not given.

    Args:
        keys: The device's keys; None on loopback without keys.
        on_status: Told what it is waiting for, and what was found.
        on_alive: Called each time that it looks.

    Attributes:
        text: What to call that place, for people.
        at_most_s: How long to try an address before the server is looked for again.
    """

    def __init__(
        self,
        keys: DeviceKeys | None,
        on_status: Callable[[str], None],
        on_alive: Callable[[], None] | None = None,
    ) -> None:
        self.text = "on this network"
        self.at_most_s: float | None = _TRY_S
        self._wanted = Wanted(keys)
        self._on_status = on_status
        self._on_alive = on_alive
        self._address: str | None = None
        self._tried = False
        self._run = ""
        self._others: dict[str, Offer] = {}

    def find(self, timeout_s: float) -> str:
        """Where to connect now: where the server was, and if it is there no more, where it is.

        Args:
            timeout_s: How long it may take at most.

        Raises:
            UnreachableError: No server of the right key makes itself known.
            LinkError: Several do.
        """
        if self._address is None:
            self._address = self._search(timeout_s)
        elif self._tried:
            with contextlib.suppress(LinkError):
                self._address = self._look(min(timeout_s, _LOOK_AGAIN_S))
        self._tried = True
        self.text = f"at {self._address}"
        return self._address

    def met(self, run: str) -> None:
        """Take note that the server was there.

        Args:
            run: Id of its run.
        """
        self._run = run
        self._tried = False

    def _search(self, timeout_s: float) -> str:
        end_s = time.monotonic() + timeout_s
        while True:
            left_s = max(end_s - time.monotonic(), 0.0)
            self._on_status(f"looking for the server on this network for {left_s:.0f} s more")
            try:
                return self._look(min(left_s, _LOOK_S))
            except UnreachableError:
                left_s = end_s - time.monotonic()
                if left_s <= 0:
                    what = f"on this network{_listed([*self._others.values()])}"
                    raise UnreachableError(what, timeout_s, REMEDY) from None
                time.sleep(min(left_s, _PAUSE_S))

    def _look(self, timeout_s: float) -> str:
        if self._on_alive is not None:
            self._on_alive()
        offers = browse(timeout_s, self._wanted)
        wanted = [offer for offer in offers if self._wanted(offer)]
        wanted = [offer for offer in wanted if offer.run == self._run] or wanted
        if not wanted:
            self._others.update((offer.name, offer) for offer in offers)
            raise UnreachableError("on this network", timeout_s, REMEDY)
        runs = {offer.run: offer for offer in wanted}
        if len(runs) > 1:
            listed = " and ".join(
                f"{offer.name} at {self._wanted.addresses(offer)[0]}" for offer in runs.values()
            )
            raise LinkError(
                f"{len(runs)} servers of this device's server.key are on this network: {listed}",
                "give the address of one: --server ADDRESS",
            )
        # A server that was started again may be there under two names for a while.
        addresses = [one for offer in wanted for one in self._wanted.addresses(offer)]
        address = choose(addresses, KNOCK_S) or addresses[0]
        if address != self._address:
            self._on_status(f"found server {wanted[0].name} at {address}")
        return address


def _listed(offers: Sequence[Offer]) -> str:
    """What was found, and is not wanted, for people."""
    if not offers:
        return ""
    listed = ", ".join(f"{offer.name} at {offer.addresses[0]}" for offer in offers[:3])
    more = f" and {len(offers) - 3} more" if len(offers) > 3 else ""
    return f" that has the key in server.key (others are {listed}{more})"

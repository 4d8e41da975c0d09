"""How fast a link is, each way, and how long a round trip takes."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, cast

from slfac.device.profiling.link.client import CONNECT_S, Direction, PeerLink, silent
from slfac.device.profiling.link.counts import Counts
from slfac.device.profiling.link.route import Route, route_to
from slfac.device.profiling.spread import Figure, student
from slfac.wire.errors import SettingsError
from slfac.wire.frame import MAX_BODY_BYTES
from slfac.wire.keys import DeviceKeys

#: Small messages, and the chunks in which training sends its tensors.
SIZES: Final = (1024, MAX_BODY_BYTES)
#: With fewer an interval says more of luck than of the link.
LEAST_REPETITIONS: Final = 5
_PINGS: Final = 10
_MOST_S: Final = 60.0


@dataclass(frozen=True)
class SizeMeasured:
    """What streams of bodies of one size gave.

    Attributes:
        body_bytes: The size.
        up_mbits: 10**6 bits of bodies a second, to the peer.
        down_mbits: The same, from it.
        sent: Everything that this device sent meanwhile.
        received: Everything that came.
    """

    body_bytes: int
    up_mbits: Figure
    down_mbits: Figure
    sent: Counts
    received: Counts


@dataclass(frozen=True)
class LinkMeasured:
    """What a link is like.

    Attributes:
        up_mbits: 10**6 bits of bodies a second to the peer, by bodies of the largest size.
        down_mbits: The same, from it.
        rtt_ms: Milliseconds of a round trip: the mean of the repetitions' medians.
        repetitions: How many there were of each.
        sizes: By size of the bodies.
        address: The peer's, as a number.
        route: Through which interface it was reached.
        software: Release of slfac on the peer.
    """

    up_mbits: Figure
    down_mbits: Figure
    rtt_ms: Figure
    repetitions: int
    sizes: tuple[SizeMeasured, ...]
    address: str
    route: Route
    software: str


def measure_link(
    address: str,
    keys: DeviceKeys | None,
    *,
    repetitions: int = LEAST_REPETITIONS,
    repetition_s: float = 0.5,
    sizes: Sequence[int] = SIZES,
    timeout_s: float = CONNECT_S,
    on_status: Callable[[str], None] = silent,
) -> LinkMeasured:
    """Measure the link to a peer that runs ``slfac profile peer``.

    Directions and sizes alternate, so that a link that changes meanwhile widens the intervals of
    all alike. Intervals are Student's, over repetitions.

    Args:
        address: The peer's ``tcp://HOST:PORT``.
        keys: This device's keys, with the peer's ``server.key``; None on loopback without keys.
        repetitions: How often, at least five.
        repetition_s: For how long each stream is filled; on a slow link it lasts until four
            bodies have crossed.
        sizes: Bytes of the bodies, up to 65536.
        timeout_s: How long to try to connect.
        on_status: Told what is being done.

    Raises:
        SettingsError: A setting is out of range.
        LinkError: The peer cannot be reached, refuses, or was lost; its subclasses say which.
    """
    _check(repetitions, repetition_s, sizes)
    ordered = sorted(set(sizes))
    with PeerLink(address, keys, timeout_s=timeout_s, on_status=on_status) as link:
        for size in ordered:  # the first streams open TCP's window
            _both(link, size, repetition_s)
        pings_ms: list[float] = []
        found: dict[int, list[_Both]] = {size: [] for size in ordered}
        for number in range(1, repetitions + 1):
            on_status(f"repetition {number} of {repetitions}")
            pings_ms.append(1e3 * statistics.median(link.ping() for _ in range(_PINGS)))
            for size in ordered:
                found[size].append(_both(link, size, repetition_s))
        software, reached = link.software, link.address
    measured = tuple(_size(size, both) for size, both in found.items())
    return LinkMeasured(
        up_mbits=measured[-1].up_mbits,
        down_mbits=measured[-1].down_mbits,
        rtt_ms=_figure(pings_ms),
        repetitions=repetitions,
        sizes=measured,
        address=reached,
        route=route_to(reached),
        software=software,
    )


@dataclass(frozen=True)
class _Both:
    """One repetition: both ways, and all that crossed."""

    mbits: dict[Direction, float]
    sent: Counts
    received: Counts


def _both(link: PeerLink, size: int, duration_s: float) -> _Both:
    mbits: dict[Direction, float] = {}
    sent = received = Counts(0, 0, 0)
    directions: tuple[Direction, Direction] = ("up", "down")
    for direction in directions:
        moved = link.stream(direction, size, duration_s)
        mbits[direction] = (moved.body_bytes_s or 0.0) * 8 / 1e6
        sent, received = sent + moved.sent, received + moved.received
    return _Both(mbits, sent, received)


def _size(size: int, found: Sequence[_Both]) -> SizeMeasured:
    nothing = Counts(0, 0, 0)
    return SizeMeasured(
        body_bytes=size,
        up_mbits=_figure([both.mbits["up"] for both in found]),
        down_mbits=_figure([both.mbits["down"] for both in found]),
        sent=sum((both.sent for both in found), nothing),
        received=sum((both.received for both in found), nothing),
    )


def _figure(values: Sequence[float]) -> Figure:
    # None is of no values at all, and settings ask for five repetitions.
    return cast("Figure", student(values))


def _check(repetitions: int, repetition_s: float, sizes: Sequence[int]) -> None:
    if not LEAST_REPETITIONS <= repetitions <= 1000:
        raise SettingsError(
            f"repetitions is {repetitions}",
            f"give {LEAST_REPETITIONS} to 1000: intervals need them",
        )
    if not 0 < repetition_s <= _MOST_S:
        raise SettingsError(f"repetition_s is {repetition_s:g}", f"give up to {_MOST_S:g} seconds")
    if not sizes or not all(1 <= size <= MAX_BODY_BYTES for size in sizes):
        raise SettingsError(
            f"sizes is {','.join(map(str, sizes))!r}", f"give sizes from 1 to {MAX_BODY_BYTES}"
        )

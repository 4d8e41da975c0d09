"""How far hosts' clocks are apart, by asking them for the time."""

from __future__ import annotations

from dataclasses import dataclass

from slfac.testbed.hosts.host import Host


@dataclass(frozen=True)
class ClockOffset:
    """How far a host's clock is ahead of this machine's.

    Attributes:
        offset_s: How far.
        error_s: By how much that may be off: half of the quickest round trip.
    """

    offset_s: float
    error_s: float


async def clock_offset(host: Host, *, samples: int = 20) -> ClockOffset:
    """Ask a host for the time, and take the answer that came quickest.

    Args:
        host: The host.
        samples: How often to ask.

    Returns:
        Its offset.

    Raises:
        LinkError: The connection broke.
    """
    asked = await host.clock_samples(samples)
    begin_s, time_s, end_s = min(asked, key=lambda sample: sample[2] - sample[0])
    return ClockOffset(time_s - (begin_s + end_s) / 2, (end_s - begin_s) / 2)

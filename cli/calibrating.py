"""What both calibrations need: a sensor that is read all the while, and a clock."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from slfac.device.energy.base import PowerSensor
    from slfac.device.energy.host import Host
    from slfac.device.energy.sampler import Sampler

_MOST_HZ: Final = 100.0
_LEAST_READINGS: Final = 1 << 16
# A hundred megabytes, and half a day of the fastest sensor.
_MOST_READINGS: Final = 1 << 22
# A slow link takes longer than its plan says.
_LONGER: Final = 3.0


def sampling(sensor: PowerSensor, host: Host, seconds: float) -> Sampler:
    """A sampler with room for all of a measurement.

    Args:
        sensor: What is read.
        host: Its clock, and where throttling shows.
        seconds: How long it is planned to last.
    """
    from slfac.device.energy.sampler import Sampler
    from slfac.device.energy.throttle import ThrottleWatch

    rate_hz = min(sensor.info.max_hz or _MOST_HZ, _MOST_HZ)
    room = min(max(_LEAST_READINGS, round(_LONGER * seconds * rate_hz)), _MOST_READINGS)
    return Sampler(sensor, throttled=ThrottleWatch(host), capacity=room, clock=host.clock)


def clock_of(host: Host) -> Callable[[], float]:
    """Seconds of the clock of a sensor's readings.

    Args:
        host: Whose it is.
    """
    return lambda: host.clock() * 1e-9


def say(line: str) -> None:
    """Say what is being done.

    Args:
        line: It.
    """
    print(f"slfac profile calibrate: {line}", file=sys.stderr, flush=True)

"""How often a sensor can be read, and what it says meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from slfac.device.energy.base import PowerSensor
from slfac.device.energy.host import Host
from slfac.wire.errors import SensorError

# Sensors that answer at once are not asked more often: reading costs power too.
_MOST_HZ: Final = 400.0
_AGAIN_HZ: Final = 10.0


@dataclass(frozen=True)
class Measured:
    """What came of reading a sensor for a while.

    Attributes:
        reads_hz: Reads a second that gave something, at most twice what the sensor's driver
            expects.
        new_hz: How many of them differed from the one before: at least so often the sensor has
            something new.
        power_w: Mean of the powers; None if there were none.
        failures: Reads that failed.
        error: The last of their errors; empty without one.
    """

    reads_hz: float
    new_hz: float
    power_w: float | None
    failures: int
    error: str


def measure(sensor: PowerSensor, host: Host, duration_s: float) -> Measured:
    """Read a sensor as often as makes sense.

    Args:
        sensor: The sensor.
        host: Its clock, and how to wait.
        duration_s: For how long; it is read at least twice.
    """
    pace_ns = round(1e9 / min(2 * (sensor.info.max_hz or _MOST_HZ), _MOST_HZ))
    start_ns = due_ns = host.clock()
    end_ns = start_ns + round(duration_s * 1e9)
    last = None
    reads = new = failures = 0
    powers: list[float] = []
    error = ""
    while reads + failures < 2 or host.clock() < end_ns:
        due_ns = max(due_ns + pace_ns, host.clock() - pace_ns)
        try:
            sample = sensor.read()
        except SensorError as failed:
            failures, error = failures + 1, str(failed)
            host.wait(1 / _AGAIN_HZ)
            continue
        reads += 1
        said = sample.rails_w if sample.energy_j is None else sample.energy_j
        new += last is not None and said != last
        last = said
        if sample.power_w is not None:
            powers.append(sample.power_w)
        host.wait(max(0.0, (due_ns - host.clock()) / 1e9))
    seconds = max((host.clock() - start_ns) / 1e9, 1e-9)
    mean_w = sum(powers) / len(powers) if powers else None
    return Measured(reads / seconds, new / seconds, mean_w, failures, error)

"""What every power sensor is and gives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from slfac.wire.errors import SensorError

Scope = Literal["soc", "module", "board", "wall"]
SCOPES: tuple[Scope, ...] = ("soc", "module", "board", "wall")
# Above any board that slfac knows (a Jetson Thor draws 130 W) and below what a register full of
# ones says (65.5 V x 65.5 A).
MOST_BOARD_W = 1000.0
MOST_WALL_W = 5000.0


@dataclass(frozen=True)
class Sample:
    """What one read gave.

    Attributes:
        t0_ns: Beginning of the window that ``power_w`` is the mean of, on the host's monotonic
            clock.
        t1_ns: Its end: when it was read.
        power_w: Watts of the sensor's whole scope, signed; None if it gives none, or none yet.
        rails_w: Watts by rail, signed. A rail may be part of another.
        energy_j: Joules at ``t1_ns`` since the first read, wraps undone; None if the sensor has
            no counter. Where a read failed in between, the counter may have lost what went
            through meanwhile.
    """

    t0_ns: int
    t1_ns: int
    power_w: float | None
    rails_w: Mapping[str, float] = field(default_factory=dict)
    energy_j: float | None = None


@dataclass(frozen=True)
class SensorInfo:
    """What a sensor is, as far as is known without reading it.

    Attributes:
        name: What the setting ``sensor`` calls it, such as ``jetson`` or ``ina2xx@1-0040``.
        kind: Its driver: the part of the name before ``@``.
        scope: What its power is the power of: ``soc`` the processor's chip, ``module`` a compute
            module or what a board's power controller feeds, ``board`` all of the board, ``wall``
            the board and its power supply; None if it measures nothing.
        gives: ``energy`` if its power is what a counter gained since the read before, so that
            windows join without gaps; ``power`` if it is the power at the time of the read.
        rails: Rails that a read gives.
        total: Those whose sum is ``power_w`` and ``energy_j``.
        place: File, address or command that is read.
        lsb_w: Smallest step of the power in watts; None where unknown.
        lsb_j: Smallest step of the counter in joules; None where unknown or without one.
        max_hz: How often a read can give something new; None where unknown.
        window_ms: How long before the read the measured window begins.
        most_w: More than this is taken for a fault.
        note: What a reader of its figures must know.
    """

    name: str
    kind: str
    scope: Scope | None
    gives: Literal["power", "energy", "nothing"]
    rails: tuple[str, ...]
    total: tuple[str, ...]
    place: str
    lsb_w: float | None = None
    lsb_j: float | None = None
    max_hz: float | None = None
    window_ms: float = 0.0
    most_w: float = MOST_BOARD_W
    note: str = ""


class PowerSensor(ABC):
    """Something that tells watts or joules; one thread reads it.

    Args:
        info: What it is.
    """

    def __init__(self, info: SensorInfo) -> None:
        self.info = info

    @abstractmethod
    def read(self) -> Sample:
        """Read once.

        A read that failed may be tried again: a sensor that comes back is found again, under
        whatever number the kernel gives it then.

        Returns:
            The sample.

        Raises:
            SensorError: It cannot be read now, or gives what no board can draw.
        """

    def close(self) -> None:  # noqa: B027 - most sensors hold nothing
        """Give back what it holds; it is not read afterwards."""


@dataclass(frozen=True)
class PassedOver:
    """Something that might have been a sensor.

    Attributes:
        name: What it would be called.
        place: Where it was found.
        why: Why it is not used.
        remedy: What to do about it; empty where nothing can be done.
    """

    name: str
    place: str
    why: str
    remedy: str = ""


@dataclass
class Probe:
    """What a driver found: sensors, and what it passed over."""

    sensors: list[PowerSensor] = field(default_factory=list)
    passed: list[PassedOver] = field(default_factory=list)


def plausible(info: SensorInfo, rail: str, watts: float) -> float:
    """Give back a power that a board can draw.

    Args:
        info: The sensor's.
        rail: Which rail, for the error.
        watts: The power; less than nothing is possible, as of a rail that is fed from another.

    Raises:
        SensorError: It is not a number, or beyond the sensor's bound.
    """
    # `not <=` also takes a NaN.
    if not abs(watts) <= info.most_w:
        raise SensorError(
            f"sensor {info.name} says {watts:g} W on rail {rail}, which no board draws",
            f"look at {info.place}: the chip, its shunt or its driver is not as expected",
        )
    return watts

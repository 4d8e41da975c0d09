"""What a run has taken on this device."""

from __future__ import annotations

from dataclasses import dataclass

from slfac.device.energy.base import SensorInfo
from slfac.device.energy.integrate import Total
from slfac.device.energy.means import MeanPhase
from slfac.device.energy.pool import Segment
from slfac.device.energy.results import Dropped, Estimate
from slfac.device.energy.sampler import SamplerCost
from slfac.wire.energy import known_joules


@dataclass(frozen=True)
class Stretch:
    """Energy of a stretch of time.

    Attributes:
        joules: Of the time that readings cover; None where they cover nothing.
        covered_s: How long that is.
        missing_s: The rest.
    """

    joules: float | None = None
    covered_s: float = 0.0
    missing_s: float = 0.0

    @property
    def known(self) -> float | None:
        """Its energy, if enough of it was seen."""
        return known_joules(self.joules, self.covered_s, self.missing_s)

    @property
    def watts(self) -> float | None:
        """Mean power of what was seen."""
        return self.joules / self.covered_s if self.joules is not None else None

    def plus(self, total: Total) -> Stretch:
        """It, and what came after.

        Args:
            total: What came after.
        """
        told = [joules for joules in (self.joules, total.joules) if joules is not None]
        return Stretch(
            joules=sum(told) if told else None,
            covered_s=self.covered_s + total.covered_s,
            missing_s=self.missing_s + total.missing_s,
        )


@dataclass(frozen=True)
class RoundEnergy:
    """What a round took.

    Attributes:
        round: Its number, from 0; one that was made again is there twice.
        spent: Energy from the front of the round before, or from being let in, to its own.
    """

    round: int
    spent: Stretch


@dataclass(frozen=True)
class RunEnergy:
    """What a run has taken on this device.

    Attributes:
        sensor: What was read.
        waiting: Energy before this device was first let in.
        total: Energy from then on.
        rounds: Energy by round.
        phases: What phases of a step take, and the step itself.
        steps: Steps that these are the mean of.
        readings: Readings behind them.
        idle_w: Idle power; None where not resolved.
        lag_s: How late the sensor is; None where not resolved.
        dropped: What was left out of the phases.
        failures: Reads that failed.
        error: What the last of them said; empty without one.
        lost: Whether the sensor gave nothing any more at the end.
        cost: What reading cost; None without a sensor.
        looking_s: How long it took to tell phases apart, in a thread beside the training and
            at the end.
        recent: Stamps and readings of the last rounds; None without any.
        begin_s: When this device was first let in, by the monotonic clock.
    """

    sensor: SensorInfo
    waiting: Stretch
    total: Stretch
    rounds: tuple[RoundEnergy, ...]
    phases: tuple[MeanPhase, ...]
    steps: int
    readings: int
    idle_w: Estimate | None
    lag_s: Estimate | None
    dropped: tuple[Dropped, ...]
    failures: int
    error: str
    lost: bool
    cost: SamplerCost | None
    looking_s: float
    recent: Segment | None
    begin_s: float

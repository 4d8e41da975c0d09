"""What phases take in the mean of a run, from figures of its parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from slfac.device.energy.phases import OTHER, PHASES
from slfac.device.energy.results import Attribution, Dropped, Estimate, PhaseEnergy

_ORDER = (*PHASES, OTHER)


@dataclass(frozen=True)
class MeanPhase:
    """What a phase takes in a step, in the mean of a run.

    Attributes:
        phase: Its name; ``step`` is all of a step.
        ms: How long it runs.
        joules: Its energy, idle power included; None where not resolved.
        above_idle_joules: Without idle power; None where not resolved.
        watts: Mean power while it runs; None where not resolved.
        unresolved: Why there are no joules; empty where there are.
    """

    phase: str
    ms: float
    joules: Estimate | None
    above_idle_joules: Estimate | None
    watts: Estimate | None
    unresolved: str


class Means:
    """Puts figures of parts together, each by its number of steps.

    The parts' errors are not taken to be independent: what a sensor or a model gets wrong once,
    it gets wrong each time. So the half-width of a mean is the mean of the half-widths, and does
    not shrink as a run goes on.
    """

    def __init__(self) -> None:
        self._parts: list[Attribution] = []

    @property
    def steps(self) -> int:
        """Steps of all parts."""
        return sum(part.steps for part in self._parts)

    @property
    def readings(self) -> int:
        """Readings that were looked at."""
        return sum(part.readings for part in self._parts)

    def add(self, part: Attribution) -> None:
        """Take in a part.

        Args:
            part: It; one whose steps were all left out says only why.
        """
        self._parts.append(part)

    def phases(self) -> tuple[MeanPhase, ...]:
        """Each phase that was seen, in the order of a step, and the step itself."""
        found: dict[str, list[tuple[int, PhaseEnergy]]] = {}
        for part in self._parts:
            for one in (*part.phases, part.step) * bool(part.steps):
                found.setdefault(one.phase, []).append((part.steps, one))
        names = [*(name for name in _ORDER if name in found), *("step",) * bool(found)]
        return tuple(self._mean(name, found[name]) for name in names)

    def idle_w(self) -> Estimate | None:
        """Mean idle power; None where not resolved."""
        return _mean([(part.steps, part.idle_w) for part in self._parts])

    def lag_s(self) -> Estimate | None:
        """How late the sensor is; None where not resolved."""
        return _mean([(part.steps, part.lag_s) for part in self._parts])

    def dropped(self) -> tuple[Dropped, ...]:
        """What was left out."""
        sums: dict[tuple[str, str], float] = {}
        for one in (entry for part in self._parts for entry in part.dropped):
            sums[one.what, one.why] = sums.get((one.what, one.why), 0.0) + one.amount
        return tuple(Dropped(what, amount, why) for (what, why), amount in sums.items())

    def _mean(self, name: str, rows: list[tuple[int, PhaseEnergy]]) -> MeanPhase:
        def over(figure: Callable[[PhaseEnergy], Estimate | None]) -> Estimate | None:
            return _mean([(steps, figure(one)) for steps, one in rows])

        seconds = sum(steps * one.seconds_per_step for steps, one in rows) / self.steps
        joules = over(lambda one: one.joules_per_step)
        return MeanPhase(
            phase=name,
            ms=1e3 * seconds,
            joules=joules,
            above_idle_joules=over(lambda one: one.above_idle_joules_per_step),
            watts=over(lambda one: one.watts),
            unresolved="" if joules is not None else rows[-1][1].unresolved,
        )


def _mean(rows: Sequence[tuple[int, Estimate | None]]) -> Estimate | None:
    """Mean of what was resolved; None where nothing was."""
    told = [(weight, one) for weight, one in rows if one is not None]
    total = sum(weight for weight, _ in told)
    if not total:
        return None
    sides = (
        sum(weight * getattr(one, side) for weight, one in told) / total
        for side in ("value", "low", "high")
    )
    return Estimate(*sides)

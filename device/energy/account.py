"""From coefficients to figures: which of them add up to what, and which say nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from slfac.device.energy.bootstrap import Intervals
from slfac.device.energy.occupancy import Segments
from slfac.device.energy.phases import PHASES
from slfac.device.energy.regress import Design, Fit
from slfac.device.energy.results import Estimate, PhaseEnergy

#: A phase needs as many readings as would fill so many whole windows.
LEAST_READINGS = 10.0
#: Half of an interval's width from which a figure says nothing, relative to what a step draws on
#: average in the same time: relative to the figure itself, those that err upwards would pass.
WIDEST = 0.5
# The same of idle power.
_WIDEST_IDLE = 0.25
_WIDEST_LAG_S = 0.015


@dataclass(frozen=True)
class Findings:
    """What the regression found.

    Attributes:
        figures: Those of :meth:`Account.functions`.
        readings: By phase, how many whole windows it fills.
        blocks: Blocks of steps that were resampled.
        lag_s: How late the sensor is, but for a small change that is among the figures; None if
            readings do not tell.
    """

    figures: Intervals
    readings: Mapping[str, float]
    blocks: int
    lag_s: float | None


class Account:
    """Energy of each phase in a step, as sums of what is fitted.

    Args:
        pieces: Time, cut wherever something begins or ends.
        counts: Which pieces are in steps that count, ``(N,) bool``.
        steps: How many steps those are.

    Attributes:
        names: Phases that run in those steps.
        steps: As given.
    """

    def __init__(self, pieces: Segments, counts: np.ndarray, steps: int) -> None:
        self.steps = steps
        self._pieces = pieces
        self._per_step = np.where(counts, pieces.length_s, 0.0) / max(steps, 1)
        seconds = {
            name: float(self._per_step @ running) for name, running in pieces.running.items()
        }
        order = [*PHASES, *seconds]
        self._seconds = {
            name: seconds[name] for name in sorted(seconds, key=order.index) if seconds[name] > 0
        }
        self.names = tuple(self._seconds)

    def functions(self, design: Design, fitted: Fit) -> np.ndarray:
        """Weights of the coefficients in every figure.

        Args:
            design: Says which coefficient is which.
            fitted: Says how many there are.

        Returns:
            For n phases: n energies, n energies above idle, both for the whole step, idle power,
            its drift and the lag, ``(2 n + 5, P)``.
        """
        n, pieces = len(self.names), self._pieces
        rows = np.zeros((2 * n + 5, fitted.columns.shape[1]))
        idle = design.idle_at(pieces.middle_s)
        share = self._per_step / np.maximum(pieces.together, 1)
        for i, name in enumerate(self.names):
            rows[[i, n + i], design.level(name)] = self._seconds[name]
            rows[i, design.idle] = (share * pieces.running[name]) @ idle
        rows[2 * n] = rows[2 * n + 1] = rows[n : 2 * n].sum(axis=0)
        rows[2 * n, design.idle] = self._per_step @ idle
        rows[2 * n + 2, design.idle] = pieces.length_s @ idle / pieces.length_s.sum()
        rows[2 * n + 3, [design.idle.start, design.idle.stop - 1]] = -1.0, 1.0
        if rows.shape[1] > design.idle.stop:
            rows[2 * n + 4, -1] = 1.0
        return rows

    def phase(self, name: str, found: Findings | None, reason: str) -> PhaseEnergy:
        """What a phase costs in a step.

        Args:
            name: The phase.
            found: What was found, if anything.
            reason: Why nothing was.
        """
        row = self.names.index(name)
        readings = found.readings[name] if found is not None else 0.0
        if not reason and readings < LEAST_READINGS:
            reason = f"readings fill {readings:.1f} windows of it, {LEAST_READINGS:.0f} are needed"
        return self._energy(
            name, self._seconds[name], readings, (row, len(self.names)), found=found, reason=reason
        )

    def step(self, found: Findings | None, reason: str) -> PhaseEnergy:
        """What a whole step costs."""
        n = len(self.names)
        readings = sum(found.readings[name] for name in self.names) if found is not None else 0.0
        return self._energy(
            "step", float(self._per_step.sum()), readings, (2 * n, 1), found=found, reason=reason
        )

    def idle_w(self, found: Findings | None) -> Estimate | None:
        """Mean idle power."""
        return self._level(found, 2)

    def idle_drift_w(self, found: Findings | None) -> Estimate | None:
        """How much idle power rose."""
        return self._level(found, 3)

    def lag_s(self, found: Findings | None) -> Estimate | None:
        """How late the sensor is."""
        if found is None or found.lag_s is None:
            return None
        row = 2 * len(self.names) + 4
        half = float(found.figures.half[row])
        if half > _WIDEST_LAG_S:
            return None
        value = max(found.lag_s + float(found.figures.value[row]), 0.0)
        return Estimate(value, max(value - half, 0.0), value + half)

    def _mean_w(self, found: Findings) -> float:
        return float(abs(found.figures.value[2 * len(self.names)]) / self._per_step.sum())

    def _level(self, found: Findings | None, row: int) -> Estimate | None:
        if found is None:
            return None
        row += 2 * len(self.names)
        told = found.figures.half[row] <= _WIDEST_IDLE * self._mean_w(found)
        return _estimate(found.figures, row) if told else None

    def _energy(
        self,
        name: str,
        seconds: float,
        readings: float,
        rows: tuple[int, int],
        *,
        found: Findings | None,
        reason: str,
    ) -> PhaseEnergy:
        if found is None or reason:
            return PhaseEnergy(name, seconds, readings, None, None, None, reason)
        row, offset = rows
        figures, widest = found.figures, WIDEST * self._mean_w(found) * seconds
        if not figures.half[row] <= widest:
            alone = figures.believed[row] < figures.half[row] / 4
            reason = (
                "its interval is too wide"
                if alone
                else "it cannot be told from what runs beside it"
            )
            return PhaseEnergy(name, seconds, readings, None, None, None, reason)
        whole = _estimate(figures, row)
        watts = Estimate(*(side / seconds for side in (whole.value, whole.low, whole.high)))
        told = figures.half[row + offset] <= widest
        above = _estimate(figures, row + offset) if told else None
        return PhaseEnergy(name, seconds, readings, whole, watts, above, "")


def _estimate(figures: Intervals, row: int) -> Estimate:
    value, half = float(figures.value[row]), float(figures.half[row])
    return Estimate(value, value - half, value + half)

"""Least squares of readings on what ran in their windows; how late the sensor is, comes along."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from slfac.device.energy.occupancy import Profile
from slfac.device.energy.trace import PowerTrace

#: No sensor that we know is later than 50 ms.
MAX_LAG_S = 0.06
# Idle power may bend at so many places, and no more often than this: it drifts with temperature.
_MAX_KNOTS = 9
_KNOT_S = 30.0
# Mean length of an instance from which a ramp, a bend and so on are looked for in it.
_DEGREES = ((0.030, 5), (0.008, 3), (0.0, 2))
# A window of no length is an instant, all in one phase.
_SHORTEST_WINDOW_S = 1e-4
# The lag is looked for on a grid first, and then by steps that are no longer than the grid's.
_LAG_GRID_S = 0.005
_MOST_ITERATIONS = 12
_SAME_LAG_S = 2e-5
# Twice the logarithm of the likelihoods' ratio: noise alone makes 20 of it at most.
_CLEAR = 40.0
# What is believed beforehand, in units of the phases' powers (root mean square above idle):
# little of the phases and of idle power, and that power inside a phase deviates from its mean by
# some 0.3 in a ramp, 0.15 in a bend and so on.
_LEVEL_PRIOR = 10.0
_SHAPE_PRIOR = 0.3
_LAG_PRIOR_S = 0.05


@dataclass(frozen=True)
class Fit:
    """A fitted model.

    Attributes:
        columns: The design at the lag that was found, ``(N, P) float64``; the last column is
            that of a small change of the lag, if it was looked for.
        prior_mean: What each coefficient is believed to be beforehand, ``(P,)``.
        precision: How much that counts, relative to one reading, ``(P,)``.
        lag_s: How late the sensor is, without the last column's small change.
        lag_clear: Whether that lag fits readings clearly better than others do.
        beta: The coefficients, ``(P,)``.
        residuals: What the model leaves of each reading, in watts, ``(N,)``.
    """

    columns: np.ndarray
    prior_mean: np.ndarray
    precision: np.ndarray
    lag_s: float
    lag_clear: bool
    beta: np.ndarray
    residuals: np.ndarray


class Design:
    """Columns of the regression: a level for each phase, its profile, and idle power.

    Idle power is a column always, phases come on top of it. Where idleness is never seen, the
    two cannot be told apart, but their sum can.

    Args:
        spans: When each phase ran.
        begin_s: Beginning of the time that is looked at.
        end_s: Its end.

    Attributes:
        names: The phases.
        firsts: Numbers of the columns of their mean powers above idle, ``(n,) int64``.
        idle: The columns of idle power.
    """

    def __init__(self, spans: Mapping[str, np.ndarray], begin_s: float, end_s: float) -> None:
        self.names = tuple(spans)
        self._profiles = [Profile(own, _degree(own)) for own in spans.values()]
        bends = int(np.clip(round((end_s - begin_s) / _KNOT_S), 1, _MAX_KNOTS - 1))
        self._knots = np.linspace(begin_s, end_s, bends + 1)
        counts = np.array([1 + profile.degree for profile in self._profiles], dtype=np.int64)
        self.firsts = np.cumsum(counts) - counts
        self.idle = slice(int(counts.sum()), int(counts.sum()) + len(self._knots))

    def level(self, name: str) -> int:
        """Number of the column of a phase's mean power above idle."""
        return int(self.firsts[self.names.index(name)])

    def idle_at(self, t: np.ndarray) -> np.ndarray:
        """How much each idle column counts at each instant, ``(N, K)``; rows sum to 1."""
        each = np.eye(len(self._knots))
        return np.stack([np.interp(t, self._knots, own) for own in each], axis=1)

    def matrix(
        self, trace: PowerTrace, lag_s: float, beta: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean of every column over each reading's window.

        Args:
            trace: The readings.
            lag_s: How late they are.
            beta: Coefficients, ``(P,)``.

        Returns:
            The columns, ``(N, P)``, and how much a second more of lag adds to each reading with
            these coefficients, ``(N,)``.
        """
        since, until = _window(trace, lag_s)
        length = until - since
        columns = np.empty((len(trace), self.idle.stop))
        late = np.zeros(len(trace))
        for first, profile in zip(self.firsts.tolist(), self._profiles, strict=True):
            own = slice(first, first + 1 + profile.degree)
            (whole, last_value), (part, first_value) = profile.at(until), profile.at(since)
            columns[:, own] = (whole - part) / length[:, None]
            late += (first_value - last_value) @ beta[own] / length
        columns[:, self.idle] = self.idle_at((since + until) / 2)
        return columns, late

    def levels(self, trace: PowerTrace, lag_s: float) -> np.ndarray:
        """Columns without profiles: one a phase, then idle power, ``(N, n + K)``."""
        since, until = _window(trace, lag_s)
        shares = [profile.lasted(until) - profile.lasted(since) for profile in self._profiles]
        idle = self.idle_at((since + until) / 2)
        return np.column_stack([*(share / (until - since) for share in shares), idle])

    def prior(self, scale_w: float, mean_w: float) -> tuple[np.ndarray, np.ndarray]:
        """What is believed beforehand of each column.

        Args:
            scale_w: Of the phases' powers above idle.
            mean_w: Of all readings.

        Returns:
            Means and standard deviations, ``(P,)`` each.
        """
        mean = np.zeros(self.idle.stop)
        mean[self.idle] = mean_w
        spread = np.full(self.idle.stop, _LEVEL_PRIOR * scale_w)
        for first, profile in zip(self.firsts, self._profiles, strict=True):
            for m in range(1, profile.degree + 1):
                spread[first + m] = _SHAPE_PRIOR * scale_w / m
        return mean, spread


def fit(design: Design, trace: PowerTrace, lag_s: float | None) -> Fit:
    """Fit the model to readings.

    Args:
        design: The columns.
        trace: The readings.
        lag_s: How late the sensor is; None to find out.
    """
    search = lag_s is None
    grid = np.arange(0.0, MAX_LAG_S + 1e-9, _LAG_GRID_S) if lag_s is None else np.array([lag_s])
    lag, heights, clear = _coarse(design, trace, grid)
    beta = np.zeros(design.idle.stop)
    beta[design.firsts] = heights
    noise = float(np.var(trace.watts))
    fitted = _linear(design, trace, lag, beta=beta, noise=noise, search=search)
    for _ in range(_MOST_ITERATIONS):
        moved = float(np.clip(fitted.beta[-1], -_LAG_GRID_S, _LAG_GRID_S)) if search else 0.0
        after = float(np.clip(fitted.lag_s + moved, 0.0, MAX_LAG_S))
        before, noise = noise, float(np.var(fitted.residuals))
        if abs(after - fitted.lag_s) < _SAME_LAG_S and abs(noise - before) < 0.01 * before:
            break
        fitted = _linear(design, trace, after, beta=fitted.beta, noise=noise, search=search)
    return replace(fitted, lag_clear=clear)


def _linear(
    design: Design,
    trace: PowerTrace,
    lag_s: float,
    *,
    beta: np.ndarray,
    noise: float,
    search: bool,
) -> Fit:
    """Fit at a lag, its small change among the coefficients if it is searched for.

    ``beta`` and ``noise`` are what was found before: the phases' powers set the scale of what is
    believed, and both how much a change of the lag would change readings.
    """
    columns, late = design.matrix(trace, lag_s, beta)
    mean_w, spread_w = float(np.mean(trace.watts)), float(np.std(trace.watts))
    scale_w = float(np.sqrt(np.mean(beta[design.firsts] ** 2)))
    scale_w = max(float(np.clip(scale_w, spread_w / 2, abs(mean_w) + spread_w)), 1e-6)
    mean, spread = design.prior(scale_w, mean_w)
    if search:
        columns = np.column_stack([columns, late])
        mean, spread = np.append(mean, 0.0), np.append(spread, _LAG_PRIOR_S)
    # Readings that fit to the last bit would make beliefs count for nothing at all.
    precision = max(noise, (1e-4 * scale_w) ** 2) / spread**2
    gram = columns.T @ columns + np.diag(precision)
    found = np.linalg.solve(gram, columns.T @ trace.watts + precision * mean)
    return Fit(columns, mean, precision, lag_s, search, found, trace.watts - columns @ found)


def _window(trace: PowerTrace, lag_s: float) -> tuple[np.ndarray, np.ndarray]:
    until = trace.t_s - lag_s
    return until - np.maximum(trace.window_s, _SHORTEST_WINDOW_S), until


def _degree(spans: np.ndarray) -> int:
    mean = float(np.mean(spans[:, 1] - spans[:, 0]))
    return next(degree for least, degree in _DEGREES if mean >= least)


def _coarse(design: Design, trace: PowerTrace, lags: np.ndarray) -> tuple[float, np.ndarray, bool]:
    """The lag that fits best if power is constant within phases, and the phases' powers then.

    The last value is whether that lag fits clearly better than the worst one.
    """
    found = []
    for lag in lags.tolist():
        columns = design.levels(trace, lag)
        # Barely more than nothing, for columns that cannot be told apart.
        ridge = np.eye(columns.shape[1]) * 1e-9 * len(trace)
        beta = np.linalg.solve(columns.T @ columns + ridge, columns.T @ trace.watts)
        misfit = float(np.sum((trace.watts - columns @ beta) ** 2))
        found.append((misfit, lag, beta[: len(design.names)]))
    least, lag, heights = min(found, key=lambda row: row[0])
    most = max(row[0] for row in found)
    clear = len(trace) * math.log(max(most, 1e-300) / max(least, 1e-300)) > _CLEAR
    return lag, heights, clear

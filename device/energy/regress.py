"""Least squares of readings on what ran in their windows; how late the sensor is, comes along."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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
_LAG_GRID_S = 0.010
_ITERATIONS = 4
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
    """

    columns: np.ndarray
    prior_mean: np.ndarray
    precision: np.ndarray
    lag_s: float


class Design:
    """Columns of the regression: a level for each phase, its profile, and idle power.

    Idle power is a column always, phases come on top of it. Where idleness is never seen, the
    two cannot be told apart, but their sum can.

    Args:
        spans: When each phase ran.
        begin_s: Beginning of the time that is looked at.
        end_s: Its end.
    """

    def __init__(self, spans: Mapping[str, np.ndarray], begin_s: float, end_s: float) -> None:
        self.names = tuple(spans)
        self._profiles = [Profile(own, _degree(own)) for own in spans.values()]
        bends = int(np.clip(round((end_s - begin_s) / _KNOT_S), 1, _MAX_KNOTS - 1))
        self._knots = np.linspace(begin_s, end_s, bends + 1)
        counts = np.array([1 + profile.degree for profile in self._profiles], dtype=np.int64)
        self._firsts = np.cumsum(counts) - counts
        self.idle = slice(int(counts.sum()), int(counts.sum()) + len(self._knots))

    def level(self, name: str) -> int:
        """Number of the column of a phase's mean power above idle."""
        return int(self._firsts[self.names.index(name)])

    def idle_at(self, t: np.ndarray) -> np.ndarray:
        """How much each idle column counts at each instant, ``(N, K)``; rows sum to 1."""
        each = np.eye(len(self._knots))
        return np.stack([np.interp(t, self._knots, own) for own in each], axis=1)

    def matrix(self, trace: PowerTrace, lag_s: float) -> tuple[np.ndarray, np.ndarray]:
        """Mean of every column over each reading's window.

        Args:
            trace: The readings.
            lag_s: How late they are.

        Returns:
            The columns, ``(N, P)``, and how they change with a second more of lag.
        """
        window = np.maximum(trace.window_s, _SHORTEST_WINDOW_S)
        until = trace.t_s - lag_s
        since = until - window
        columns, slopes = [], []
        for profile in self._profiles:
            (whole, value), (part, first) = profile.at(until), profile.at(since)
            columns.append((whole - part) / window[:, None])
            slopes.append((first - value) / window[:, None])
        idle = self.idle_at(until - window / 2)
        return np.hstack([*columns, idle]), np.hstack([*slopes, np.zeros_like(idle)])

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
        for first, profile in zip(self._firsts, self._profiles, strict=True):
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
    lag, levels = _coarse(design, trace) if lag_s is None else (lag_s, None)
    mean_w, spread_w = float(np.mean(trace.watts)), float(np.std(trace.watts))
    beta = np.zeros(design.idle.stop)
    noise = spread_w**2
    if levels is None:
        levels = _levels(design, design.matrix(trace, lag)[0], trace.watts)[0]
    beta[[design.level(name) for name in design.names]] = levels[: len(design.names)]
    fitted = None
    for _ in range(_ITERATIONS):
        columns, slopes = design.matrix(trace, lag)
        heights = beta[[design.level(name) for name in design.names]]
        scale_w = float(np.clip(np.sqrt(np.mean(heights**2)), spread_w / 2, abs(mean_w) + spread_w))
        scale_w = max(scale_w, 1e-6)
        mean, spread = design.prior(scale_w, mean_w)
        if search:
            columns = np.column_stack([columns, slopes @ beta[: design.idle.stop]])
            mean, spread = np.append(mean, 0.0), np.append(spread, _LAG_PRIOR_S)
        precision = max(noise, (1e-4 * scale_w) ** 2) / spread**2
        fitted = Fit(columns, mean, precision, lag)
        beta = np.linalg.solve(
            columns.T @ columns + np.diag(precision), columns.T @ trace.watts + precision * mean
        )
        noise = float(np.var(trace.watts - columns @ beta))
        if search:
            lag = float(np.clip(lag + np.clip(beta[-1], -_LAG_GRID_S, _LAG_GRID_S), 0, MAX_LAG_S))
    return fitted


def _degree(spans: np.ndarray) -> int:
    mean = float(np.mean(spans[:, 1] - spans[:, 0]))
    return next(degree for least, degree in _DEGREES if mean >= least)


def _coarse(design: Design, trace: PowerTrace) -> tuple[float, np.ndarray]:
    """The best lag on a coarse grid, without profiles, and the phases' levels there."""
    found = []
    for lag in np.arange(0.0, MAX_LAG_S + 1e-9, _LAG_GRID_S):
        levels, misfit = _levels(design, design.matrix(trace, lag)[0], trace.watts)
        found.append((misfit, float(lag), levels))
    _, lag, levels = min(found, key=lambda row: row[0])
    return lag, levels


def _levels(design: Design, columns: np.ndarray, watts: np.ndarray) -> tuple[np.ndarray, float]:
    """Levels of the phases and idle power without profiles, and what is left unexplained."""
    chosen = [design.level(name) for name in design.names]
    chosen += list(range(design.idle.start, design.idle.stop))
    own = columns[:, chosen]
    # Barely more than nothing, for columns that cannot be told apart.
    ridge = np.eye(len(chosen)) * 1e-9 * len(watts)
    beta = np.linalg.solve(own.T @ own + ridge, own.T @ watts)
    return beta, float(np.sum((watts - own @ beta) ** 2))

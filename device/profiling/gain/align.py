"""How late a meter's readings come, by where the edges of loads stand in both traces."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Final

import numpy as np

from slfac.device.energy.trace import PowerTrace
from slfac.device.profiling.spread import quantile
from slfac.wire.errors import SensorError

#: Where a lag is looked for: a meter's program may keep lines back for many seconds.
LAGS_S: Final = (-2.0, 30.0)
# Less than this, and the two do not see the same board.
_LEAST_CORRELATION: Final = 0.8
_COARSE_S: Final = 0.1
_FINE_S: Final = 0.005
_PARTS: Final = 6
_NEAR_S: Final = 1.0
_LEAST_SHIFT_S: Final = 0.02
_FEWEST: Final = 20
# The correlation where nothing can be compared.
_NOTHING: Final = -2.0
_LEAST_PRODUCT: Final = 1e-12


@dataclass(frozen=True)
class Lag:
    """How late a meter is.

    Attributes:
        lag_s: In the middle of the measurement.
        middle_s: When that was.
        drift: Seconds a second that the lag grows by; None where that does not show.
        correlation: Of the two traces, once moved by it.
    """

    lag_s: float
    middle_s: float
    drift: float | None
    correlation: float

    def at(self, t_s: float) -> float:
        """The lag at an instant.

        Args:
            t_s: When.
        """
        return self.lag_s + (self.drift or 0.0) * (t_s - self.middle_s)


def find_lag(board: PowerTrace, meter: PowerTrace) -> Lag:
    """Move the board's trace until it looks most like the meter's.

    Args:
        board: What the board's own sensor said.
        meter: What the meter said, each reading the mean of its window, and late.

    Raises:
        SensorError: There are too few readings, or the two have nothing to do with each other.
    """
    if min(len(board), len(meter)) < _FEWEST:
        raise SensorError(
            f"there are {len(board)} readings of the sensor and {len(meter)} of the meter",
            "look at both: `slfac profile sensors` with the same options",
        )
    whole = _Matcher(board, meter)
    lag_s, correlation = whole.best(*LAGS_S)
    if correlation == _NOTHING:
        raise SensorError(
            "there are too few readings of the same time of the sensor and the meter",
            "look at both: `slfac profile sensors` with the same options",
        )
    if correlation < _LEAST_CORRELATION:
        raise SensorError(
            f"the meter does not follow the loads: its correlation with the sensor is "
            f"{correlation:.2f} at best",
            "check that it measures this board, and which column it is read from",
        )
    if not LAGS_S[0] + _COARSE_S < lag_s < LAGS_S[1] - _COARSE_S:
        raise SensorError(
            f"the meter is {lag_s:.1f} s late or more", "let its program write each line at once"
        )
    middle_s = float(meter.t_s[0] + meter.t_s[-1]) / 2
    drift = _drift(board, meter, lag_s)
    return Lag(lag_s, middle_s, drift, correlation)


def _drift(board: PowerTrace, meter: PowerTrace, lag_s: float) -> float | None:
    """The slope of the lags of parts, if it can be told from nothing and matters."""
    edges = np.linspace(meter.t_s[0], meter.t_s[-1], _PARTS + 1)
    middles, lags = [], []
    for begin_s, end_s in itertools.pairwise(edges):
        part = meter.where((meter.t_s >= begin_s) & (meter.t_s <= end_s))
        if len(part) < _FEWEST:
            return None
        found_s, correlation = _Matcher(board, part).best(lag_s - _NEAR_S, lag_s + _NEAR_S)
        if correlation < _LEAST_CORRELATION:
            return None
        middles.append((begin_s + end_s) / 2)
        lags.append(found_s)
    x = np.array(middles) - np.mean(middles)
    y = np.array(lags) - np.mean(lags)
    slope = float(x @ y / (x @ x))
    left = y - slope * x
    error = float(np.sqrt(left @ left / (_PARTS - 2) / (x @ x)))
    seen = abs(slope) > quantile(_PARTS - 2) * error
    return slope if seen and abs(slope) * (edges[-1] - edges[0]) > _LEAST_SHIFT_S else None


class _Matcher:
    """Compares a meter's readings with what a board drew in their windows, moved."""

    def __init__(self, board: PowerTrace, meter: PowerTrace) -> None:
        at = board.t_s - board.window_s / 2
        pieces = np.diff(at) * (board.watts[1:] + board.watts[:-1]) / 2
        self._at, self._joules = at, np.concatenate([[0.0], np.cumsum(pieces)])
        self._meter = meter

    def best(self, low_s: float, high_s: float) -> tuple[float, float]:
        """The lag at which they are most alike, and their correlation there."""
        coarse = np.arange(low_s, high_s + _COARSE_S / 2, _COARSE_S)
        around = coarse[int(np.argmax(self._correlations(coarse)))]
        fine = np.arange(around - _COARSE_S, around + _COARSE_S + _FINE_S / 2, _FINE_S)
        alike = self._correlations(fine)
        best = int(np.argmax(alike))
        return float(fine[best]), float(alike[best])

    def _correlations(self, lags_s: np.ndarray) -> np.ndarray:
        ends = self._meter.t_s - lags_s[:, None]
        begins = ends - np.maximum(self._meter.window_s, 1e-3)
        inside = (begins >= self._at[0]) & (ends <= self._at[-1])
        drawn = np.interp(ends, self._at, self._joules) - np.interp(begins, self._at, self._joules)
        board = drawn / (ends - begins)
        meter = np.broadcast_to(self._meter.watts, board.shape)
        count = np.maximum(inside.sum(axis=1, keepdims=True), 1)
        x = np.where(inside, board - (board * inside).sum(axis=1, keepdims=True) / count, 0.0)
        y = np.where(inside, meter - (meter * inside).sum(axis=1, keepdims=True) / count, 0.0)
        both = np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
        # What does not vary, but for rounding, follows nothing.
        alike = np.where(both > _LEAST_PRODUCT, (x * y).sum(axis=1), 0.0)
        # A lag at which half of the readings have nothing to be compared with tells nothing.
        enough = inside.sum(axis=1) >= len(self._meter) / 2
        return np.where(enough, alike / np.maximum(both, _LEAST_PRODUCT), _NOTHING)

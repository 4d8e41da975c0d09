"""Energy of a whole stretch of time: by trapezoids, or what a counter gained."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from slfac.device.energy.phases import inside, no_spans
from slfac.device.energy.trace import PowerTrace

# Without a reading for so many periods, what happened meanwhile is unknown.
GAP_PERIODS = 3.0


@dataclass(frozen=True)
class Total:
    """Energy of a stretch of time.

    Attributes:
        joules: Of the part that readings cover; None without any.
        covered_s: That part.
        missing_s: The rest, of which nothing is known.
    """

    joules: float | None
    covered_s: float
    missing_s: float

    @property
    def watts(self) -> float | None:
        """Mean power of the part that is covered."""
        return self.joules / self.covered_s if self.joules is not None else None


def gaps(trace: PowerTrace, begin_s: float, end_s: float) -> np.ndarray:
    """Where readings are missing.

    Args:
        trace: The readings.
        begin_s: Beginning of the stretch that is looked at.
        end_s: Its end.

    Returns:
        Sorted spans, ``(N, 2) float64``, each longer than three usual periods.
    """
    if len(trace) < 2:
        return np.array([[begin_s, end_s]])
    period = float(np.median(np.diff(trace.t_s)))
    since = trace.t_s - (trace.window_s if trace.counted else 0.0)
    begins = np.concatenate([[begin_s], trace.t_s])
    ends = np.concatenate([since, [end_s]])
    begins, ends = np.maximum(begins, begin_s), np.minimum(ends, end_s)
    missing = ends - begins > GAP_PERIODS * period
    return np.stack([begins[missing], ends[missing]], axis=1) if missing.any() else no_spans()


def integrate(trace: PowerTrace, begin_s: float, end_s: float) -> Total:
    """Energy from one instant to another.

    Args:
        trace: The readings.
        begin_s: The first instant.
        end_s: The last.

    Returns:
        What readings cover. Power between two readings goes in a line from one to the other,
        unless the gap between them is too long; a counter's windows are taken as they are.
    """
    missing = gaps(trace, begin_s, end_s)
    missing_s = float(np.sum(missing[:, 1] - missing[:, 0]))
    covered_s = end_s - begin_s - missing_s
    if len(trace) < 2 or covered_s <= 0:
        return Total(None, 0.0, end_s - begin_s)
    if trace.counted:
        return _counted(trace, begin_s, end_s, covered_s)
    at = trace.t_s - trace.window_s / 2
    cuts = np.unique(np.concatenate([[begin_s, end_s], missing.ravel(), at]))
    cuts = cuts[(cuts >= begin_s) & (cuts <= end_s)]
    watts = np.interp(cuts, at, trace.watts)
    middles = (cuts[1:] + cuts[:-1]) / 2
    known = ~inside(middles, missing)
    pieces = (watts[1:] + watts[:-1]) / 2 * np.diff(cuts)
    return Total(float(np.sum(pieces[known])), covered_s, missing_s)


def _counted(trace: PowerTrace, begin_s: float, end_s: float, covered_s: float) -> Total:
    until = np.clip(trace.t_s, begin_s, end_s)
    lasting = until - np.clip(trace.t_s - trace.window_s, begin_s, end_s)
    read_s = float(np.sum(lasting))
    if read_s <= 0:
        return Total(None, 0.0, end_s - begin_s)
    # Short times before the first reading and after the last draw what the rest draws.
    joules = float(np.sum(trace.watts * lasting)) * covered_s / read_s
    return Total(joules, covered_s, end_s - begin_s - covered_s)

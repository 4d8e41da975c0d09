"""Adds up energy over readings that are handed out bit by bit."""

from __future__ import annotations

import numpy as np

from slfac.device.energy.integrate import Total, integrate
from slfac.device.energy.trace import PowerTrace

# Readings from before, which tell how long the sensor's usual period is, and what power was at
# the beginning of a stretch: one may be shorter than that period.
_TAIL = 16


class Tally:
    """Integrates one stretch of time after another.

    Args:
        begin_s: Beginning of the first one.
    """

    def __init__(self, begin_s: float) -> None:
        self._at_s = begin_s
        self._tail: PowerTrace | None = None

    def add(self, trace: PowerTrace, end_s: float) -> Total:
        """Energy since the last time.

        Args:
            trace: Readings that have come since then.
            end_s: Up to when.

        Returns:
            What readings cover; nothing where they say that more came in than went out.
        """
        begin_s, self._at_s = self._at_s, end_s
        whole = trace if self._tail is None else join_traces([self._tail, trace])
        self._tail = whole.where(np.arange(len(whole)) >= len(whole) - _TAIL)
        total = integrate(whole, begin_s, end_s)
        if total.joules is None or total.joules >= 0:
            return total
        return Total(None, 0.0, end_s - begin_s)


def join_traces(traces: list[PowerTrace]) -> PowerTrace:
    """One trace of several that follow one another.

    Args:
        traces: At least one.
    """
    return PowerTrace(
        t_s=np.concatenate([trace.t_s for trace in traces]),
        window_s=np.concatenate([trace.window_s for trace in traces]),
        watts=np.concatenate([trace.watts for trace in traces]),
        counted=traces[0].counted,
    )

"""Keeps the last stamps and readings of a run, for drawing."""

from __future__ import annotations

from collections import deque

import numpy as np

from slfac.device.energy.phases import Timeline, inside
from slfac.device.energy.pool import Segment, join_segments

MOST_READINGS = 8192
#: Of each phase.
MOST_SPANS = 4096


class Recent:
    """Segments that follow one another; the oldest are forgotten."""

    def __init__(self) -> None:
        self._segments: deque[Segment] = deque()

    def add(self, segment: Segment) -> None:
        """Add a segment.

        Args:
            segment: It.
        """
        self._segments.append(segment)
        while len(self._segments) > 1 and self._has_enough_without_first():
            self._segments.popleft()

    def segment(self) -> Segment | None:
        """The last steps and readings that are few enough; None without any."""
        if not self._segments:
            return None
        whole = join_segments(self._segments)
        timeline, trace = whole.timeline, whole.trace
        lists = [*timeline.spans.values(), timeline.steps]
        begins = [own[-MOST_SPANS, 0] for own in lists if len(own) > MOST_SPANS]
        if len(trace) > MOST_READINGS:
            begins.append(trace.t_s[-MOST_READINGS])
        begin_s = float(max(begins, default=timeline.begin_s))
        since = np.array([[begin_s, np.inf]])
        return Segment(
            timeline=Timeline(
                spans={name: own[inside(own[:, 0], since)] for name, own in timeline.spans.items()},
                steps=timeline.steps[inside(timeline.steps[:, 0], since)],
                begin_s=begin_s,
                end_s=timeline.end_s,
                dropped=timeline.dropped,
            ),
            trace=trace.where(trace.t_s >= begin_s),
            throttled=whole.throttled,
        )

    def _has_enough_without_first(self) -> bool:
        later = list(self._segments)[1:]
        most = max(
            (sum(len(one.timeline.spans.get(name, ())) for one in later) for name in _names(later)),
            default=0,
        )
        return sum(len(one.trace) for one in later) >= MOST_READINGS or most >= MOST_SPANS


def _names(segments: list[Segment]) -> set[str]:
    return {name for one in segments for name in one.timeline.spans}

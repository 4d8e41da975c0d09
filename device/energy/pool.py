"""Keeps what was stamped and read until there is enough of it to be looked at, and no more."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from slfac.device.energy.phases import Timeline, no_spans, union
from slfac.device.energy.tally import join_traces
from slfac.device.energy.trace import PowerTrace

#: What is looked at at once: any of these makes a whole.
MOST_READINGS = 8192
_MOST_SPANS = 65536
_MOST_S = 600.0


@dataclass(frozen=True)
class Segment:
    """Stamps and readings of a stretch of time.

    Attributes:
        timeline: When phases and steps ran.
        trace: What the sensor said.
        throttled: When the board was throttled, sorted and disjoint, ``(N, 2)``; None where
            that cannot be known.
    """

    timeline: Timeline
    trace: PowerTrace
    throttled: np.ndarray | None

    @property
    def fullness(self) -> float:
        """How much of a whole it is; 1 or more is enough."""
        spans = sum(len(own) for own in self.timeline.spans.values())
        lasted_s = self.timeline.end_s - self.timeline.begin_s
        return max(len(self.trace) / MOST_READINGS, spans / _MOST_SPANS, lasted_s / _MOST_S)


class Pool:
    """Segments that follow one another.

    Attributes:
        dropped_steps: Steps that had to make room before anybody looked at them.
    """

    def __init__(self) -> None:
        self.dropped_steps = 0
        self._segments: list[Segment] = []

    @property
    def full(self) -> bool:
        """Whether there is enough."""
        return sum(one.fullness for one in self._segments) >= 1

    def add(self, segment: Segment) -> None:
        """Add a segment; if there are two wholes by then, the oldest make room.

        Args:
            segment: It; of a very long one, the last readings stay.
        """
        trace = segment.trace
        late = trace.where(np.arange(len(trace)) >= len(trace) - MOST_READINGS)
        self._segments.append(Segment(segment.timeline, late, segment.throttled))
        while len(self._segments) > 1 and sum(one.fullness for one in self._segments) > 2:
            self.dropped_steps += len(self._segments.pop(0).timeline.steps)

    def take(self) -> Segment | None:
        """All of it as one segment, and begin anew; None without any."""
        segments, self._segments = self._segments, []
        return join_segments(segments) if segments else None


def join_segments(segments: Sequence[Segment]) -> Segment:
    """One segment of several that follow one another.

    Args:
        segments: At least one.
    """
    timelines = [one.timeline for one in segments]
    names = dict.fromkeys(name for timeline in timelines for name in timeline.spans)
    told = [one.throttled for one in segments if one.throttled is not None]
    return Segment(
        timeline=Timeline(
            # What was cut in two at the end of a segment is one span again.
            spans={name: union(_stack(t.spans.get(name) for t in timelines)) for name in names},
            steps=_stack(timeline.steps for timeline in timelines),
            begin_s=timelines[0].begin_s,
            end_s=timelines[-1].end_s,
            dropped=sum(timeline.dropped for timeline in timelines),
        ),
        trace=join_traces([one.trace for one in segments]),
        throttled=union(_stack(told)) if told else None,
    )


def _stack(spans: Iterable[np.ndarray | None]) -> np.ndarray:
    return np.concatenate([no_spans(), *(own for own in spans if own is not None)])

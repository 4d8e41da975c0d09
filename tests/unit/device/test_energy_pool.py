"""What is kept until it is looked at, and for drawing, is bounded."""

import numpy as np
import pytest

from slfac.device.energy.phases import Timeline, no_spans
from slfac.device.energy.pool import MOST_READINGS, Pool, Segment
from slfac.device.energy.recent import MOST_SPANS, Recent
from slfac.device.energy.trace import PowerTrace

pytestmark = pytest.mark.device


def segment(begin_s, seconds=10.0, readings=100, steps=10, *, throttled=None, open_end=False):
    """Steps of a forward phase each, the last of which may go on beyond the end."""
    at = begin_s + np.arange(steps) * seconds / max(steps, 1)
    last = seconds / max(steps, 1)
    spans = np.stack([at, at + (last if open_end else 0.5 * last)], axis=1) if steps else no_spans()
    timeline = Timeline({"forward": spans} if steps else {}, spans, begin_s, begin_s + seconds, 1)
    t_s = begin_s + (np.arange(readings) + 0.5) * seconds / max(readings, 1)
    trace = PowerTrace(t_s, np.full(readings, 0.01), np.full(readings, 3.0))
    return Segment(timeline, trace, throttled)


def test_segments_become_one_and_spans_that_were_cut_are_whole_again():
    pool = Pool()
    for begin_s in (0.0, 10.0, 20.0):
        pool.add(segment(begin_s, steps=1, open_end=True))
    joined = pool.take()
    assert joined.timeline.spans["forward"].tolist() == [[0.0, 30.0]]
    assert len(joined.timeline.steps) == 3
    assert (joined.timeline.begin_s, joined.timeline.end_s) == (0.0, 30.0)
    assert joined.timeline.dropped == 3
    assert len(joined.trace) == 300
    assert joined.throttled is None
    assert pool.take() is None


def test_throttling_that_some_segments_know_of_is_kept():
    pool = Pool()
    for begin_s, marks in ((0.0, None), (10.0, np.array([[12.0, 13.0]])), (20.0, no_spans())):
        pool.add(segment(begin_s, throttled=marks))
    assert pool.take().throttled.tolist() == [[12.0, 13.0]]


@pytest.mark.parametrize(
    "size", [{"readings": 5000}, {"seconds": 350.0}, {"steps": 40_000}], ids=lambda s: next(iter(s))
)
def test_enough_is_enough_whatever_it_is_of(size):
    pool = Pool()
    pool.add(segment(0.0, **size))
    assert not pool.full
    pool.add(segment(1000.0, **size))
    assert pool.full


def test_what_nobody_looks_at_makes_room_and_is_counted():
    pool = Pool()
    for number in range(100):
        pool.add(segment(10.0 * number, readings=MOST_READINGS // 4))
    joined = pool.take()
    assert len(joined.trace) == 2 * MOST_READINGS
    assert len(joined.timeline.steps) == 80
    assert pool.dropped_steps == 920


def test_of_a_long_wait_the_last_readings_stay():
    pool = Pool()
    pool.add(segment(0.0, seconds=7200.0, readings=10 * MOST_READINGS, steps=0))
    trace = pool.take().trace
    assert len(trace) == MOST_READINGS
    assert trace.t_s[-1] > 7199


def test_what_is_kept_for_drawing_is_the_newest():
    recent = Recent()
    assert recent.segment() is None
    for number in range(50):
        recent.add(segment(10.0 * number, readings=1000))
    kept = recent.segment()
    assert len(kept.trace) == MOST_READINGS
    assert kept.timeline.end_s == 500.0
    assert kept.trace.t_s[0] >= kept.timeline.begin_s > 400
    assert (kept.timeline.spans["forward"][:, 0] >= kept.timeline.begin_s).all()
    assert (kept.timeline.steps[:, 0] >= kept.timeline.begin_s).all()
    assert len(recent._segments) <= 10


def test_one_long_segment_is_cut_for_drawing():
    recent = Recent()
    recent.add(segment(0.0, seconds=1000.0, steps=3 * MOST_SPANS))
    kept = recent.segment()
    assert len(kept.timeline.spans["forward"]) == len(kept.timeline.steps) == MOST_SPANS
    assert kept.timeline.begin_s == kept.timeline.steps[0, 0]

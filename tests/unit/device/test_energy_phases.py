"""Stamps of phases become spans, whoever stamps and however they overlap."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slfac.device.energy.phasemeter import PhaseMeter
from slfac.device.energy.phases import PHASES, inside, touched, union
from slfac.wire.errors import SettingsError

pytestmark = pytest.mark.device

SPANS = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 8)), max_size=12).map(
    lambda pairs: np.array([(a, a + length) for a, length in pairs], float).reshape(-1, 2)
)


class Clock:
    """Time that passes when told to."""

    def __init__(self):
        self.ns = 5_000_000_000

    def __call__(self):
        return self.ns

    def after(self, ms):
        self.ns += round(ms * 1e6)


@pytest.fixture
def clock():
    return Clock()


def ms(spans):
    """Spans in milliseconds since the clock began."""
    return np.round((spans - 5) * 1e3, 3).tolist()


@given(SPANS)
def test_a_union_holds_the_same_instants_once(spans):
    merged = union(spans)
    t = np.arange(0, 50, 0.5) + 0.25
    expected = [any(a <= x < b for a, b in spans) for x in t]
    assert inside(t, merged).tolist() == expected
    assert np.all(merged[1:, 0] > merged[:-1, 1])


@given(SPANS, SPANS)
def test_touched_spans_share_an_instant_with_a_mark(spans, marks):
    merged = union(marks)
    expected = [any(a < d and c < b for c, d in merged) for a, b in spans]
    assert touched(spans, merged).tolist() == expected


def test_phases_and_steps_are_taken_down(clock):
    meter = PhaseMeter(clock=clock)
    for _ in range(50):
        with meter.step():
            with meter.phase("forward"):
                clock.after(3)
            clock.after(1)
            with meter.phase("backward"):
                clock.after(2)
    timeline = meter.take()
    assert ms(timeline.steps) == [[6 * n, 6 * n + 6] for n in range(50)]
    assert ms(timeline.spans["forward"]) == [[6 * n, 6 * n + 3] for n in range(50)]
    assert ms(timeline.spans["backward"]) == [[6 * n + 4, 6 * n + 6] for n in range(50)]
    assert set(timeline.spans) == {"forward", "backward"}
    assert (timeline.begin_s, timeline.end_s) == (5.0, pytest.approx(5.3))
    assert timeline.dropped == 0


def test_a_phase_ends_where_its_block_raises(clock):
    meter = PhaseMeter(clock=clock)

    def fail():
        with meter.phase("decode"):
            clock.after(4)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert ms(meter.take().spans["decode"]) == [[0, 4]]


def test_phases_overlap_and_the_same_phase_in_two_threads_is_one(clock):
    meter = PhaseMeter(clock=clock)
    meter.record("send", clock.ns, clock.ns + 8_000_000)
    meter.record("forward", clock.ns + 2_000_000, clock.ns + 5_000_000)
    meter.record("send", clock.ns + 6_000_000, clock.ns + 9_000_000)
    meter.record("send", clock.ns + 9_000_000, clock.ns + 10_000_000)
    spans = meter.take().spans
    assert ms(spans["send"]) == [[0, 9], [9, 10]]
    assert ms(spans["forward"]) == [[2, 5]]


def test_what_runs_when_stamps_are_taken_is_cut_and_goes_on(clock):
    meter = PhaseMeter(clock=clock)
    with meter.step(), meter.phase("wait"):
        clock.after(3)
        first = meter.take()
        clock.after(4)
    with meter.step():
        clock.after(5)
    second = meter.take()
    assert ms(first.spans["wait"]) == [[0, 3]]
    assert ms(second.spans["wait"]) == [[3, 7]]
    assert len(first.steps) == 0
    # The first step is in neither: phases of both would be missing in it.
    assert ms(second.steps) == [[7, 12]]
    assert first.dropped == second.dropped == 0


def test_a_full_meter_counts_what_it_loses(clock):
    meter = PhaseMeter(capacity=3, clock=clock)
    for _ in range(3):
        with meter.phase("encode"):
            clock.after(1)
    timeline = meter.take()
    assert timeline.dropped == 3
    assert ms(timeline.spans["encode"]) == [[0, 1], [1, 3]]  # its end was lost: cut by take
    with meter.phase("update"):
        clock.after(1)
    assert ms(meter.take().spans["update"]) == [[3, 4]]


def test_an_end_without_a_beginning_is_counted_and_left_out(clock):
    meter = PhaseMeter(clock=clock)
    span = meter.phase("load")
    span.__exit__(None, None, None)
    clock.after(1)
    with span:
        clock.after(2)
    timeline = meter.take()
    assert timeline.dropped == 1
    assert ms(timeline.spans["load"]) == [[1, 3]]


def test_an_empty_meter_gives_an_empty_timeline(clock):
    timeline = PhaseMeter(clock=clock).take()
    assert timeline.spans == {}
    assert timeline.steps.shape == (0, 2)
    assert timeline.begin_s == timeline.end_s == 5.0


def test_threads_stamp_at_once_without_loss():
    meter = PhaseMeter(capacity=40_000)

    def stamp(name):
        for _ in range(1000):
            with meter.phase(name):
                pass

    threads = [threading.Thread(target=stamp, args=(name,)) for name in PHASES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    timeline = meter.take()
    assert timeline.dropped == 0
    assert set(timeline.spans) <= set(PHASES)
    assert len(timeline.spans) == len(PHASES)


@given(st.lists(st.tuples(st.sampled_from(PHASES[:3]), st.integers(0, 50), st.integers(1, 9))))
def test_recorded_phases_are_their_union(events):
    meter = PhaseMeter(clock=lambda: 10**9)
    for name, begin, length in events:
        meter.record(name, begin * 1000 + 1000, (begin + length) * 1000 + 1000)
    timeline = meter.take()
    for name in PHASES[:3]:
        own = [(b + 1, b + 1 + length) for n, b, length in events if n == name]
        expected = union(np.array(own, float).reshape(-1, 2))
        found = timeline.spans.get(name, np.zeros((0, 2)))
        assert np.all(found[1:, 0] >= found[:-1, 1])
        assert np.allclose(union(np.round(found * 1e6)), expected)


def test_a_meter_without_room_is_refused():
    with pytest.raises(SettingsError, match="capacity is 1"):
        PhaseMeter(capacity=1)

import pytest

from slfac.device.asking import Exchanged
from slfac.device.energy import PhaseMeter
from slfac.device.stopwatch import Stopwatch
from slfac.wire.messages import Timings

pytestmark = pytest.mark.device


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still unless it is moved."""

    class Clock:
        now_s = 100.0

        def __call__(self):
            return round(self.now_s * 1e9)

    clock = Clock()
    monkeypatch.setattr("slfac.device.stopwatch.time.monotonic_ns", clock)
    return clock


def exchanged(sending, waiting, broken=(), send_ms=10.0, wait_ms=2.5):
    spans = [tuple(round(s * 1e9) for s in span) for span in (sending, waiting, *broken)]
    return Exchanged(None, send_ms, wait_ms, spans[0], spans[1], tuple(spans[2:]))


def test_phases_are_timed_and_add_up(clock):
    watch = Stopwatch()
    for seconds in (0.25, 0.5):
        with watch.phase("encode"):
            clock.now_s += seconds
        clock.now_s += 3.0
    watch.exchange(exchanged((100, 101), (101, 102)))
    watch.exchange(exchanged((102, 103), (103, 104), wait_ms=0.5))
    assert watch.timings() == Timings(encode_ms=750.0, send_ms=20.0, wait_ms=3.0, step_ms=6750.0)


def test_a_phase_that_fails_is_timed_too(clock):
    watch = Stopwatch()

    def fail():
        with watch.phase("forward"):
            clock.now_s += 0.125
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert watch.timings() == Timings(forward_ms=125.0, step_ms=125.0)


def test_nothing_timed_is_zero(clock):
    assert clock.now_s
    assert Stopwatch().timings() == Timings()


def test_a_meter_is_told_when_phases_ran_and_of_whole_steps(clock):
    meter = PhaseMeter(clock=clock)
    watch = Stopwatch(meter)
    with watch.phase("forward"):
        clock.now_s += 0.25
    # Sent while something was computed, which holds nobody up.
    watch.exchange(exchanged((100.125, 100.5), (100.5, 100.75), [(100.6, 100.7)], send_ms=0.0))
    clock.now_s += 0.75
    assert watch.timings() == Timings(forward_ms=250.0, wait_ms=2.5, step_ms=1000.0)
    timeline = meter.take()
    assert {name: spans.tolist() for name, spans in timeline.spans.items()} == {
        "forward": [[100.0, 100.25]],
        "send": [[100.125, 100.5]],
        "wait": [[100.5, 100.75]],
        "idle": [[pytest.approx(100.6), pytest.approx(100.7)]],
    }
    assert timeline.steps.tolist() == [[100.0, 101.0]]


def test_a_step_that_was_broken_off_is_none(clock):
    meter = PhaseMeter(clock=clock)
    with Stopwatch(meter).phase("forward"):
        clock.now_s += 0.25
    timeline = meter.take()
    assert len(timeline.steps) == 0
    assert list(timeline.spans) == ["forward"]

import pytest

from slfac.device.stopwatch import Stopwatch
from slfac.wire.messages import Timings

pytestmark = pytest.mark.device


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still unless it is moved."""

    class Clock:
        now_s = 100.0

        def __call__(self):
            return self.now_s

    clock = Clock()
    monkeypatch.setattr("slfac.device.stopwatch.time.perf_counter", clock)
    return clock


def test_phases_are_timed_and_add_up(clock):
    watch = Stopwatch()
    for seconds in (0.25, 0.5):
        with watch.phase("encode"):
            clock.now_s += seconds
        clock.now_s += 3.0
    watch.add("wait", 12.5)
    watch.add("wait", 0.5)
    assert watch.timings() == Timings(encode_ms=750.0, wait_ms=13.0, step_ms=6750.0)


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

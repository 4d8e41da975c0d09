"""What is measured of a board whose true times and joules are known."""

import dataclasses

import msgspec
import numpy as np
import pytest

from harness.drawing import IDLE_W, Drawing
from slfac.device.energy.phases import Timeline, no_spans
from slfac.device.energy.trace import PowerTrace
from slfac.device.profiling.figures import counted, phase_ms, watts
from slfac.device.profiling.idle import measure_idle
from slfac.device.profiling.record import Section
from slfac.device.profiling.recorder import Seen

pytestmark = pytest.mark.device

FRONT = Section(kind="front", label="front f", begin_s=0.0, end_s=0.0, front=0, threads=1)
WATTS = {"forward": 6.5, "backward": 7.5, "update": 4.5}
SECONDS = {"forward": 0.080, "backward": 0.120, "update": 0.030}


@pytest.fixture
def drawing(tmp_path):
    return Drawing(tmp_path)


def stepper(drawing, bench, seed=0):
    """Steps of three phases, each 10 % longer or shorter than the last time."""
    rng = np.random.default_rng(seed)

    def step():
        for name, seconds in SECONDS.items():
            with bench.phase(name):
                drawing.spend(seconds * rng.uniform(0.9, 1.1), WATTS[name])

    return step


def measured(drawing, **settings):
    bench = drawing.bench(least_s=6.0, **settings)
    with bench.recorder:
        return bench, bench.measure(FRONT, stepper(drawing, bench))


def test_times_of_phases_come_from_the_repetitions(drawing):
    _, section = measured(drawing)
    assert len(section.repetitions) == 5
    for one in section.repetitions:
        assert one.count == pytest.approx(6.0 / sum(SECONDS.values()), rel=0.1)
        assert one.end_s - one.begin_s >= 6.0
        assert sum(one.seconds.values()) == pytest.approx(one.end_s - one.begin_s)
    for name, seconds in SECONDS.items():
        figure = phase_ms(section, name)
        assert figure.value == pytest.approx(1e3 * seconds, rel=0.03)
        assert 0 < figure.high - figure.value < 0.05 * figure.value
        assert figure.runs == 5


def test_batches_to_warm_up_are_in_no_repetition(drawing):
    _, cold = measured(drawing, warm_up=0)
    begin = drawing.now_ns
    _, warm = measured(drawing, warm_up=40)
    steps = [sum(one.count for one in section.repetitions) for section in (cold, warm)]
    assert steps[0] == pytest.approx(steps[1], abs=3)
    # The section begins behind them.
    assert warm.end_s - warm.begin_s == pytest.approx(cold.end_s - cold.begin_s, abs=1.0)
    assert (drawing.now_ns - begin) * 1e-9 > warm.end_s - warm.begin_s + 8


def test_joules_are_those_that_were_drawn(drawing):
    _, section = measured(drawing)
    assert [phase.phase for phase in section.energy] == ["forward", "backward", "update"]
    for phase in section.energy:
        seconds, level = SECONDS[phase.phase], WATTS[phase.phase]
        assert phase.seconds_per_step == pytest.approx(seconds, rel=0.02)
        assert phase.joules_per_step.value == pytest.approx(level * seconds, rel=0.03)
        above = phase.above_idle_joules_per_step
        assert above.value == pytest.approx((level - IDLE_W) * seconds, rel=0.05)
        assert above.low <= above.value <= above.high
    whole = sum(WATTS[name] * seconds for name, seconds in SECONDS.items())
    assert section.step.joules_per_step.value == pytest.approx(whole, rel=0.02)


def test_watts_of_a_repetition_are_those_within_it(drawing):
    _, section = measured(drawing)
    whole = sum(WATTS[name] * seconds for name, seconds in SECONDS.items())
    mean = whole / sum(SECONDS.values())
    figure = watts(section)
    assert figure.value == pytest.approx(mean, rel=0.01)
    assert all(one.watts == pytest.approx(mean, rel=0.02) for one in section.repetitions)


def test_times_are_counted_from_the_beginning_of_the_measurement(drawing):
    bench, section = measured(drawing)
    zero_s = bench.recorder.begin_s
    assert section.begin_s == pytest.approx(section.repetitions[0].begin_s - 2.0)
    assert section.end_s == pytest.approx(drawing.now_s - zero_s, abs=1.0)
    readings = bench.recorder.readings()
    assert len(readings.t_s) == len(readings.watts) > 1000
    assert 0 < readings.t_s[0] < readings.t_s[-1] <= section.end_s + 1.0


def test_steps_to_show_are_in_order_and_few(drawing):
    _, section = measured(drawing)
    assert set(section.spans) == {*SECONDS, "step"}
    assert len(section.spans["step"]) == 5
    for begin, end in section.spans["forward"]:
        assert section.begin_s < begin < end < section.end_s
        assert end - begin == pytest.approx(0.08, rel=0.11)


def test_without_a_sensor_there_are_times_and_nothing_else(drawing):
    bench = drawing.bench(sensor=False, least_s=1.0)
    with bench.recorder:
        section = bench.measure(FRONT, stepper(drawing, bench))
    assert phase_ms(section, "forward") is not None
    assert (section.energy, section.step, watts(section)) == ((), None, None)
    assert bench.recorder.facts() is None
    assert bench.recorder.readings().t_s == ()
    # Nothing is gained by waiting where no power is read.
    assert section.end_s - section.begin_s < 7.0


def test_throttled_repetitions_are_marked_and_left_out(drawing):
    bench = drawing.bench(least_s=2.0)
    drawing.hot = [[drawing.now_s + 5.0, drawing.now_s + 6.0]]
    with bench.recorder:
        section = bench.measure(FRONT, stepper(drawing, bench))
    marks = [one.throttled for one in section.repetitions]
    assert True in marks
    assert False in marks
    assert len(counted(section)) == marks.count(False)
    assert phase_ms(section, "forward").runs == marks.count(False)
    assert "throttled" in {out.why for out in section.left_out}


def test_if_all_are_throttled_nothing_is_known(drawing):
    bench = drawing.bench(least_s=1.0)
    drawing.hot = [[0.0, 1e6]]
    with bench.recorder:
        section = bench.measure(FRONT, stepper(drawing, bench))
    assert all(one.throttled for one in section.repetitions)
    assert phase_ms(section, "forward") is None
    assert watts(section) is None
    assert all(phase.joules_per_step is None for phase in section.energy)


def test_where_throttling_does_not_show_it_is_unknown(drawing):
    drawing.hot = None
    _, section = measured(drawing)
    assert {one.throttled for one in section.repetitions} == {None}
    assert phase_ms(section, "forward").runs == 5


def test_a_sensor_that_is_lost_leaves_times_and_what_was_known(drawing):
    bench = drawing.bench(least_s=4.0)
    with bench.recorder:
        before = bench.measure(FRONT, stepper(drawing, bench))
        drawing.lost_s = drawing.now_s + 8.0
        during = bench.measure(FRONT, stepper(drawing, bench))
        after = bench.measure(FRONT, stepper(drawing, bench))
        facts = bench.recorder.facts()
    assert all(one.watts is not None for one in before.repetitions)
    known = [one.watts is not None for one in during.repetitions]
    assert known == sorted(known, reverse=True)
    assert {True, False} == set(known)
    assert watts(after) is None
    assert after.step.joules_per_step is None
    assert after.step.unresolved == "no readings"
    assert all(phase_ms(section, "update").runs == 5 for section in (before, during, after))
    assert facts.error == "it was unplugged"
    assert facts.lost_s == pytest.approx(drawing.lost_s - bench.recorder.begin_s)


def test_idleness_is_cut_into_as_many_parts_as_there_are_repetitions(drawing):
    bench = drawing.bench(repetitions=6)
    with bench.recorder:
        section, busy = measure_idle(bench, "before", 12.0)
    assert [one.end_s - one.begin_s for one in section.repetitions] == pytest.approx([2.0] * 6)
    assert watts(section).value == pytest.approx(IDLE_W)
    assert 0 <= busy <= 1
    assert section.label == "idle before"


def test_a_step_that_fails_is_not_hidden(drawing):
    bench = drawing.bench()

    def step():
        with bench.phase("forward"):
            raise RuntimeError("no")

    with bench.recorder, pytest.raises(RuntimeError, match="no"):
        bench.measure(FRONT, step)


def test_a_section_is_written_and_read_again(drawing):
    _, section = measured(drawing)
    assert msgspec.json.decode(msgspec.json.encode(section), type=Section) == section


def seen(t, watts, *, counted=False):
    """A section in which nothing was stamped."""
    t = np.array(t, dtype=float)
    trace = PowerTrace(t, np.full(len(t), 0.1), np.array(watts, dtype=float), counted)
    timeline = Timeline(spans={}, steps=no_spans(), begin_s=0.0, end_s=10.0)
    return Seen(timeline, trace, None, 0.0, 10.0)


@pytest.mark.parametrize(
    ("t", "watts", "expected"),
    [
        (np.arange(0.5, 10, 0.5), [4.0] * 19, 4.0),
        # Windows that reach over the edges say something of the neighbours.
        ([0.05, *np.arange(1.0, 10, 1.0), 10.01], [90.0, *[4.0] * 9, 90.0], 4.0),
        ([2.0, 4.0, 6.0, 8.0], [4.0] * 4, None),
        # Lost after a quarter.
        (np.arange(0.2, 2.5, 0.1), [4.0] * 23, None),
        (np.arange(1.0, 10, 1.0), [4.0] * 8 + [np.nan], 4.0),
        ([], [], None),
    ],
)
def test_watts_need_readings_all_over_the_time(t, watts, expected):
    assert seen(t, watts).watts(0.0, 10.0) == expected


def test_what_a_counter_gained_is_weighed_by_its_windows():
    found = seen([2.0, 4.0, 6.0, 8.0, 9.0], [1.0, 1.0, 1.0, 1.0, 11.0], counted=True)
    weighed = dataclasses.replace(
        found.trace, window_s=np.array([1.0, 1.0, 1.0, 1.0, 1.0]) * [2, 2, 2, 2, 1]
    )
    assert dataclasses.replace(found, trace=weighed).watts(0.0, 10.0) == pytest.approx(19 / 9)

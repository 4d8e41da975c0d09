"""Energy of phases from simulated traces whose truth is known; and what is not resolved."""

import dataclasses

import numpy as np
import pytest

from harness.powertrace import PHASES, Scene, simulate
from slfac.device.energy.attribution import attribute
from slfac.device.energy.phases import Timeline
from slfac.device.energy.trace import PowerTrace

pytestmark = pytest.mark.device

# Short, and all at once: settling inside phases, overlap, drift, lag.
HARD = Scene(
    steps=120, idle_s=8, ramp=0.3, curved=True, overlap=True, drift_w=0.3, lag_s=0.02,
    rate_hz=50, window_s=0.02,
)  # fmt: skip
EASY = Scene(steps=60, idle_s=4, rate_hz=50, window_s=0.02)


def by_name(found):
    return {entry.phase: entry for entry in found.phases}


def truth(made):
    return {name: joules / len(made.timeline.steps) for name, joules in made.joules.items()}


def test_intervals_hold_the_truth_as_often_as_they_say():
    held, errors = [], []
    for seed in range(10):
        made = simulate(HARD, seed)
        found = attribute(made.timeline, made.trace, seed=seed)
        for name, true in truth(made).items():
            told = by_name(found)[name].joules_per_step
            held.append(told.low <= true <= told.high)
            errors.append(abs(told.value / true - 1))
    assert np.mean(held) >= 0.88
    assert np.median(errors) < 0.01
    assert max(errors) < 0.12


def test_the_lag_the_idle_power_and_its_drift_are_found():
    made = simulate(HARD, 1)
    found = attribute(made.timeline, made.trace)
    assert found.lag_s.value == pytest.approx(0.02, abs=0.001)
    assert found.lag_s.low <= found.lag_s.value <= found.lag_s.high
    assert found.idle_w.value == pytest.approx(2.7 + 0.3 * 0.68, abs=0.05)
    assert found.idle_drift_w.value == pytest.approx(0.3, abs=0.1)


def test_a_lag_that_is_given_is_taken():
    made = simulate(HARD, 1)
    found = attribute(made.timeline, made.trace, lag_s=0.02)
    assert found.lag_s is None
    wrong = attribute(made.timeline, made.trace, lag_s=0.0)
    true = truth(made)["encode"]
    assert by_name(found)["encode"].joules_per_step.value == pytest.approx(true, rel=0.05)
    assert by_name(wrong)["encode"].joules_per_step.value != pytest.approx(true, rel=0.1)


def test_phases_add_up_to_the_step_and_the_step_to_the_total():
    made = simulate(HARD, 2)
    found = attribute(made.timeline, made.trace)
    together = sum(entry.joules_per_step.value for entry in found.phases)
    assert together == pytest.approx(found.step.joules_per_step.value)
    assert together == pytest.approx(sum(truth(made).values()), rel=0.005)
    assert found.total.joules == pytest.approx(made.total_joules, rel=0.005)
    assert found.step.seconds_per_step == pytest.approx(
        np.mean(made.timeline.steps[:, 1] - made.timeline.steps[:, 0])
    )
    forward = by_name(found)["forward"]
    assert forward.watts.value * forward.seconds_per_step == pytest.approx(
        forward.joules_per_step.value
    )


def test_energy_above_idle_is_the_rest():
    made = simulate(EASY, 3)
    found = attribute(made.timeline, made.trace)
    for name, (seconds, watts, _) in PHASES.items():
        above = by_name(found)[name].above_idle_joules_per_step
        if name in ("forward", "send", "backward"):
            assert above.value == pytest.approx(seconds * watts, rel=0.1)
        else:
            assert above is None or above.low <= seconds * watts * 1.3


def test_a_counter_serves_as_well():
    scene = EASY.but(counter=True, lsb_w=0.0)
    made = simulate(scene, 4)
    trace = dataclasses.replace(made.trace, counted=True)
    found = attribute(made.timeline, trace)
    assert found.total.joules == pytest.approx(made.total_joules, rel=0.005)
    for name in ("forward", "send", "backward"):
        told = by_name(found)[name].joules_per_step
        assert told.value == pytest.approx(truth(made)[name], rel=0.02)


def test_without_idle_time_only_energy_above_idle_is_unknown():
    made = simulate(EASY.but(idle_s=0.0), 5)
    spans = {name: own for name, own in made.timeline.spans.items() if name != "idle"}
    found = attribute(dataclasses.replace(made.timeline, spans=spans), made.trace)
    assert found.idle_w is None
    for name in ("forward", "send", "backward"):
        entry = by_name(found)[name]
        assert entry.joules_per_step.value == pytest.approx(truth(made)[name], rel=0.02)
        assert entry.above_idle_joules_per_step is None


def test_time_that_is_not_stamped_is_other_and_not_idle():
    made = simulate(EASY, 6)
    spans = {name: own for name, own in made.timeline.spans.items() if name != "forward"}
    found = attribute(dataclasses.replace(made.timeline, spans=spans), made.trace)
    other = by_name(found)["other"]
    assert other.joules_per_step.value == pytest.approx(truth(made)["forward"], rel=0.02)
    assert found.idle_w.value == pytest.approx(2.7, abs=0.03)
    assert [entry.phase for entry in found.phases][-1] == "other"


def test_throttled_steps_and_readings_are_left_out():
    made = simulate(EASY, 7)
    steps = made.timeline.steps
    hot = np.array([[steps[10, 0] + 0.01, steps[19, 1] - 0.01]])
    watts = made.trace.watts.copy()
    watts[(made.trace.t_s > hot[0, 0]) & (made.trace.t_s < hot[0, 1] + 0.05)] *= 0.5
    trace = dataclasses.replace(made.trace, watts=watts)
    found = attribute(made.timeline, trace, throttled=hot)
    assert found.steps == 50
    dropped = {(entry.what, entry.why): entry.amount for entry in found.dropped}
    assert dropped["steps", "throttled"] == 10
    assert dropped["readings", "throttled"] > 100
    told = by_name(found)["forward"].joules_per_step
    assert told.value == pytest.approx(truth(made)["forward"], rel=0.02)
    assert found.idle_w.value == pytest.approx(2.7, abs=0.03)
    blind = attribute(made.timeline, trace)
    assert blind.steps == 60
    assert by_name(blind)["forward"].joules_per_step.value < 0.97 * truth(made)["forward"]


def test_a_sensor_that_goes_away_leaves_a_gap_and_no_made_up_total():
    made = simulate(EASY, 8)
    half = made.trace.t_s < np.mean(made.trace.t_s[[0, -1]])
    found = attribute(made.timeline, made.trace.where(half))
    dropped = {entry.what: entry.amount for entry in found.dropped if entry.why == "no readings"}
    assert dropped["seconds"] == pytest.approx(found.total.missing_s)
    assert found.total.missing_s == pytest.approx(found.total.covered_s, rel=0.05)
    assert found.total.joules < 0.6 * made.total_joules


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 900.0, -900.0])
def test_an_absurd_reading_is_left_out_and_counted(value):
    made = simulate(EASY, 8)
    watts = made.trace.watts.copy()
    watts[500] = value
    found = attribute(made.timeline, dataclasses.replace(made.trace, watts=watts))
    assert [entry.amount for entry in found.dropped if "not a number" in entry.why] == [1]
    assert found.total.joules == pytest.approx(made.total_joules, rel=0.01)
    told = by_name(found)["encode"].joules_per_step
    assert told.value == pytest.approx(truth(made)["encode"], rel=0.1)


def test_one_long_window_does_no_harm():
    """As of a counter that was not read for a while."""
    made = simulate(EASY, 9)
    window = made.trace.window_s.copy()
    window[900] = 5.0
    found = attribute(made.timeline, dataclasses.replace(made.trace, window_s=window))
    told = by_name(found)["forward"].joules_per_step
    assert told.value == pytest.approx(truth(made)["forward"], rel=0.03)


def test_the_clocks_origin_is_of_no_account():
    made = simulate(EASY, 9)
    line, trace = made.timeline, made.trace
    later = 5e6
    moved = Timeline(
        {name: own + later for name, own in line.spans.items()},
        line.steps + later,
        line.begin_s + later,
        line.end_s + later,
    )
    here = attribute(line, trace)
    there = attribute(moved, dataclasses.replace(trace, t_s=trace.t_s + later))
    for one, other in zip(here.phases, there.phases, strict=True):
        assert one.joules_per_step.value == pytest.approx(other.joules_per_step.value, rel=1e-3)


def test_slow_noise_widens_intervals():
    """0.5 W that stay for half a second: their mean over 32 s varies by 0.09 W."""
    halves = []
    for seed in (17, 18, 19):
        made = simulate(EASY.but(steps=120, noise=0.0, wander_w=0.5), seed)
        told = attribute(made.timeline, made.trace).step.joules_per_step
        halves.append((told.high - told.low) / 2)
    expected = 1.96 * 0.5 * (2 * 0.5 / 32) ** 0.5 * 0.265
    assert 0.9 * expected < np.mean(halves) < 1.5 * expected


def reasons(found):
    assert all(entry.joules_per_step is None and entry.watts is None for entry in found.phases)
    assert found.step.joules_per_step is None
    return {entry.unresolved for entry in found.phases} | {found.step.unresolved}


def test_without_readings_times_are_known_and_joules_are_not():
    made = simulate(EASY, 10)
    nothing = PowerTrace(np.zeros(0), np.zeros(0), np.zeros(0))
    found = attribute(made.timeline, nothing)
    assert reasons(found) == {"no readings"}
    assert found.total.joules is None
    assert found.idle_w is None
    assert by_name(found)["forward"].seconds_per_step == pytest.approx(0.08, rel=0.05)


def test_few_steps_are_not_resolved():
    made = simulate(EASY.but(steps=6), 11)
    found = attribute(made.timeline, made.trace)
    assert reasons(found) == {"6 blocks of steps, 10 are needed"}
    assert found.total.joules == pytest.approx(made.total_joules, rel=0.02)


def test_no_steps_and_no_stamps_are_no_error():
    made = simulate(EASY, 12)
    none = dataclasses.replace(made.timeline, steps=np.zeros((0, 2)))
    found = attribute(none, made.trace)
    assert found.phases == ()
    assert found.step.unresolved == "no steps"
    empty = Timeline({}, np.zeros((0, 2)), 1000.0, 1000.0)
    assert attribute(empty, made.trace).total.joules is None


def test_a_phase_that_few_windows_see_is_not_resolved():
    made = simulate(EASY.but(rate_hz=10.0, window_s=0.1), 13)
    found = by_name(attribute(made.timeline, made.trace))
    assert "windows of it" in found["decode"].unresolved
    assert found["decode"].joules_per_step is None
    assert found["forward"].joules_per_step is not None


def test_phases_that_always_run_together_are_not_told_apart():
    made = simulate(EASY, 14)
    spans = dict(made.timeline.spans)
    both = spans["forward"]
    # Two phases at exactly the same times.
    spans["load"] = both.copy()
    found = by_name(attribute(dataclasses.replace(made.timeline, spans=spans), made.trace))
    for name in ("load", "forward"):
        assert found[name].joules_per_step is None
        assert found[name].unresolved == "it cannot be told from what runs beside it"
    assert found["backward"].joules_per_step is not None


def test_windows_longer_than_several_steps_tell_little_of_phases():
    made = simulate(EASY.but(steps=200, rate_hz=1.0, window_s=1.0), 15)
    found = attribute(made.timeline, made.trace)
    assert found.step.joules_per_step.value == pytest.approx(sum(truth(made).values()), rel=0.02)
    named = by_name(found)
    assert named["encode"].joules_per_step is None
    assert named["decode"].joules_per_step is None


def test_noise_alone_gives_no_lag():
    made = simulate(EASY, 16)
    rng = np.random.default_rng(0)
    noise = dataclasses.replace(made.trace, watts=3 + 0.01 * rng.standard_normal(len(made.trace)))
    found = attribute(made.timeline, noise)
    assert found.lag_s is None
    constant = dataclasses.replace(made.trace, watts=np.full(len(made.trace), 3.0))
    flat = attribute(made.timeline, constant)
    assert flat.step.watts.value == pytest.approx(3.0)

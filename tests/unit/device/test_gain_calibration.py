"""Gain and offset of a sensor come back from a ladder of loads, or it is said why they do not."""

import threading
from dataclasses import replace

import numpy as np
import pytest

from harness.gainsim import SCENES, Bench, climb
from slfac.device.energy.base import SensorInfo
from slfac.device.profiling.gain import (
    Ladder,
    Load,
    Workers,
    check_scopes,
    find_lag,
    fit_gain,
    run_ladder,
)
from slfac.wire.errors import SensorError, SettingsError

pytestmark = pytest.mark.device
SEEDS = 12


@pytest.mark.parametrize("scene", SCENES)
def test_intervals_hold_the_truth(scene):
    bench = SCENES[scene]
    hits = []
    for seed in range(SEEDS):
        found = fit_gain(*climb(bench, seed), seed=seed)
        hits.append(
            [
                found.gain.low <= bench.gain <= found.gain.high,
                found.offset_w.low <= bench.offset_w <= found.offset_w.high,
            ]
        )
    assert np.all(np.mean(hits, axis=0) >= 0.9)


def test_the_lag_is_found_and_each_load_is_shown():
    found = fit_gain(*climb(Bench(meter_lag_s=3.3), 1))
    assert found.lag.lag_s == pytest.approx(3.3, abs=0.02)
    assert found.lag.drift is None
    assert found.lag.correlation > 0.99
    names = ["idle", "compute on 1 core", *(f"compute on {n} cores" for n in (2, 3, 4))]
    assert [load.name for load in found.loads] == [*names, "copy on 4 cores"]
    assert all(load.rungs == 5 and abs(load.left_w) < 0.05 for load in found.loads)
    for load in found.loads:
        fitted_w = found.gain.value * load.sensor_w + found.offset_w.value
        assert load.meter_w - fitted_w == pytest.approx(load.left_w, abs=1e-9)
    assert (found.kept, found.left_out) == (30, ())
    assert found.gain.value == pytest.approx(1.1451, rel=5e-3)


def test_a_drift_of_the_meters_clock_is_followed():
    found = fit_gain(*climb(Bench(meter_drift=2e-3), 2))
    assert found.lag.drift == pytest.approx(2e-3, rel=0.2)
    assert found.lag.at(found.lag.middle_s + 100) - found.lag.lag_s == pytest.approx(0.2, rel=0.2)


def test_what_a_load_draws_beside_the_sensor_shows_and_widens():
    plain = fit_gain(*climb(Bench(), 0))
    found = fit_gain(*climb(Bench(copy_more_w=0.2), 0))
    left = {load.name: load.left_w for load in found.loads}
    assert max(left, key=left.get) == "copy on 4 cores"
    assert left["copy on 4 cores"] > 0.1
    width = found.gain.high - found.gain.low
    assert width > 5 * (plain.gain.high - plain.gain.low)


@pytest.mark.parametrize("bench", [Bench(span=0.004), Bench(span=0.02, sensor_noise=0.2)])
def test_loads_that_do_not_spread_are_refused(bench):
    with pytest.raises(SensorError, match=r"too little to tell a gain|does not follow the loads"):
        fit_gain(*climb(bench, 0))


def test_a_spread_that_is_small_beside_the_noise_is_refused():
    rungs, ladder, sensor, meter = climb(Bench(), 0)
    rng = np.random.default_rng(0)
    shaken = replace(
        sensor, watts=sensor.watts + np.repeat(rng.normal(0, 1.0, 600), 50)[: len(sensor)]
    )
    with pytest.raises(SensorError, match="too little to tell a gain by; give more time"):
        fit_gain(rungs, ladder, shaken, meter)


def test_a_meter_of_something_else_is_refused():
    rungs, ladder, sensor, meter = climb(Bench(), 0)
    rng = np.random.default_rng(1)
    other = replace(meter, watts=5 + 0.1 * rng.standard_normal(len(meter)))
    with pytest.raises(SensorError, match=r"does not follow the loads: its correlation .* at best"):
        fit_gain(rungs, ladder, sensor, other)
    upside_down = replace(meter, watts=20 - meter.watts)
    with pytest.raises(SensorError, match="does not follow the loads"):
        fit_gain(rungs, ladder, sensor, upside_down)
    with pytest.raises(SensorError, match=r"is 30\.0 s late or more|does not follow"):
        find_lag(sensor, replace(meter, t_s=meter.t_s + 40))


def test_too_few_readings_are_said():
    rungs, ladder, sensor, meter = climb(Bench(), 0)
    with pytest.raises(SensorError, match="and 10 of the meter"):
        fit_gain(rungs, ladder, sensor, meter.where(np.arange(len(meter)) < 10))


@pytest.mark.parametrize("which", ["sensor", "meter"])
def test_steps_with_gaps_are_left_out(which):
    rungs, ladder, sensor, meter = climb(Bench(meter_lag_s=0.0), 0)
    traces = {"sensor": sensor, "meter": meter}
    trace = traces[which]
    gap = (trace.t_s > rungs[3].begin_s) & (trace.t_s < rungs[3].end_s)
    traces[which] = trace.where(~gap)
    found = fit_gain(rungs, ladder, **traces)
    assert found.left_out == (f"step 4: the {which} gave too little",)
    assert found.kept == 29
    end = trace.t_s < rungs[8].begin_s
    traces[which] = trace.where(end)
    said = r"too few readings of the same time|only 8 of 30 steps can be used: the"
    with pytest.raises(SensorError, match=said):
        fit_gain(rungs, ladder, **traces)


def info(name="pi5", scope="module", kind=None):
    return SensorInfo(name, kind or name, scope, "power", ("a",), ("a",), "here")


@pytest.mark.parametrize(
    ("sensor", "meter", "said"),
    [
        (info(), info("ina2xx", "module"), "measures the module; the truth is a meter in"),
        (info(), info("jetson", "board"), "jetson is no meter, but a sensor"),
        (info("meter", "board"), info("meter", "wall"), "sensor meter is its own meter"),
        (info("a", "board"), info("plug", "board"), "that is no more"),
        (info("a", "wall"), info("plug", "board"), "that is no more"),
        (info("none", None), info("b", "board"), "there is no sensor to read"),
        (info(), info("none", None), "there is no meter to read"),
        (info(kind="sum"), info("b", "board"), "is a sum"),
    ],
)
def test_scopes_that_make_no_sense_are_refused(sensor, meter, said):
    with pytest.raises(SettingsError, match=said):
        check_scopes(sensor, meter)


@pytest.mark.parametrize(
    ("scope", "wider"), [("soc", "board"), ("module", "wall"), ("board", "wall")]
)
def test_a_meter_may_be_wider(scope, wider):
    check_scopes(info("a", scope), info("plug", wider))


def test_ladders_reach_from_idleness_to_all_cores():
    assert [str(load) for load in Ladder.loads_of(1)] == [
        "idle",
        "compute on 1 core",
        "copy on 1 core",
    ]
    assert [load.cores for load in Ladder.loads_of(14)] == [0, 1, 4, 6, 9, 11, 14, 14]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"repetitions": 4}, "repetitions is 4"),
        ({"seed": 2**32}, "seed is 4294967296"),
        ({"step_s": 1.0}, "settle_s is 2"),
        ({"step_s": float("nan")}, "step_s is nan"),
        ({"step_s": 601.0}, "step_s is 601"),
        ({"step_s": 6.0}, "a meter that tells 1 times a second tells too little; give at least 7"),
    ],
)
def test_ladders_out_of_range_are_refused(changes, said):
    with pytest.raises(SettingsError, match=said):
        Ladder(Ladder.loads_of(2), **changes).check(meter_hz=1.0)
    Ladder(Ladder.loads_of(2)).check(meter_hz=None)


def test_loads_keep_threads_busy_and_end_with_their_step():
    before = threading.active_count()
    seen = []
    ladder = Ladder((Load("idle", 0), Load("compute", 2), Load("copy", 1)), repetitions=5)
    times = iter(range(1000))
    run_ladder(
        Workers().busy,
        ladder,
        clock=lambda: float(next(times)),
        wait=lambda _: seen.append(threading.active_count() - before),
        say=[].append,
    )
    assert seen == [ladder.loads[index].cores for index in ladder.order()]
    assert threading.active_count() == before

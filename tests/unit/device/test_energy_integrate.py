"""Totals: trapezoids between readings, what a counter gained, and nothing for gaps."""

import numpy as np
import pytest

from slfac.device.energy.integrate import gaps, integrate
from slfac.device.energy.trace import PowerTrace

pytestmark = pytest.mark.device


def trace(t, watts, window=0.0, counted=False):
    t = np.asarray(t, float)
    return PowerTrace(t, np.broadcast_to(window, t.shape), np.asarray(watts, float), counted)


def test_power_that_rises_in_a_line_is_integrated_exactly():
    t = np.arange(81) / 8 + np.random.default_rng(1).uniform(-0.05, 0.05, 81)
    total = integrate(trace(t, 2 + 0.5 * t), 1.0, 9.0)
    assert total.joules == pytest.approx(2 * 8 + 0.25 * (81 - 1))
    assert (total.covered_s, total.missing_s) == (8, 0)
    assert total.watts == pytest.approx(4.5)


def test_a_window_stands_for_its_middle():
    t = np.arange(0, 10.01, 0.1)
    total = integrate(trace(t, 2 + 0.5 * (t - 0.05), window=0.1), 1.0, 9.0)
    assert total.joules == pytest.approx(2 * 8 + 0.25 * (81 - 1))


def test_a_gap_is_left_out_and_said():
    t = np.concatenate([np.arange(0, 4, 0.1), np.arange(6, 10.01, 0.1)])
    readings = trace(t, np.full(len(t), 3.0))
    assert gaps(readings, 0.0, 10.0) == pytest.approx(np.array([[3.9, 6.0]]))
    total = integrate(readings, 0.0, 10.0)
    assert total.missing_s == pytest.approx(2.1)
    assert total.joules == pytest.approx(3 * 7.9)
    assert total.watts == pytest.approx(3.0)


def test_a_sensor_that_went_away_is_a_gap_until_the_end():
    t = np.arange(0, 4, 0.1)
    total = integrate(trace(t, np.full(len(t), 2.0)), 0.0, 10.0)
    assert total.covered_s == pytest.approx(3.9)
    assert total.joules == pytest.approx(2 * 3.9)


def test_a_counter_holds_all_energy_between_readings():
    t = np.cumsum(np.random.default_rng(2).uniform(0.05, 0.3, 50))
    gained = np.random.default_rng(3).uniform(0, 2, 49)
    readings = trace(t[1:], gained / np.diff(t), window=np.diff(t), counted=True)
    total = integrate(readings, t[0], t[-1])
    assert total.joules == pytest.approx(gained.sum())
    assert total.missing_s == 0


def test_a_counter_bridges_a_gap_in_reading():
    readings = trace([0.1, 0.2, 0.3, 5.3, 5.4], [1, 1, 1, 4, 1], [0.1, 0.1, 0.1, 5.0, 0.1], True)
    total = integrate(readings, 0.0, 5.4)
    assert total.joules == pytest.approx(0.3 + 20 + 0.1)
    assert total.missing_s == 0


@pytest.mark.parametrize("count", [0, 1])
def test_without_readings_nothing_is_known(count):
    total = integrate(trace([1.0] * count, [5.0] * count), 0.0, 10.0)
    assert total.joules is None
    assert total.watts is None
    assert (total.covered_s, total.missing_s) == (0, 10)


def test_readings_of_another_time_are_no_readings():
    t = np.arange(100, 110, 0.1)
    total = integrate(trace(t, np.full(len(t), 2.0)), 0.0, 10.0)
    assert total.joules is None
    assert total.missing_s == 10

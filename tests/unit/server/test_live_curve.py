import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slfac.server.live.curve import Curve


@given(st.integers(0, 3000), st.sampled_from([2, 8, 50]))
def test_few_points_stand_for_any_number(count, most):
    curve = Curve("x", "y", most=most)
    for number in range(count):
        curve.add(number, 2 * number)
    columns = curve.columns()
    assert len(columns["x"]) == len(columns["y"]) <= most
    assert bool(columns["x"]) == bool(count)
    assert columns["x"] == sorted(set(columns["x"]))
    assert columns["y"] == [2 * x for x in columns["x"]]
    if 0 < count < most:
        assert columns["x"] == list(range(count))


def test_neighbours_become_their_mean_and_the_newest_is_there_at_once():
    curve = Curve("x", "y", most=4)
    for number, value in enumerate([1.0, 3.0, 5.0, 7.0]):
        curve.add(number, value)
    assert curve.columns() == {"x": [0.5, 2.5], "y": [2.0, 6.0]}
    curve.add(4, 100.0)
    assert curve.columns() == {"x": [0.5, 2.5, 4.0], "y": [2.0, 6.0, 100.0]}
    curve.add(5, 50.0)
    assert curve.columns() == {"x": [0.5, 2.5, 4.5], "y": [2.0, 6.0, 75.0]}


def test_what_is_not_known_is_no_zero():
    curve = Curve("x", "y", most=2)
    for number, value in enumerate([None, 4.0, None, None, 1.0]):
        curve.add(number, value)
    assert curve.columns()["y"] == [4.0, 1.0]
    assert Curve("x").columns() == {"x": []}


def test_the_mean_over_all_points_stays():
    curve = Curve("y", most=16)
    values = [float((7 * number) % 31) for number in range(1024)]
    for value in values:
        curve.add(value)
    assert statistics.fmean(curve.columns()["y"]) == pytest.approx(statistics.fmean(values))

"""Intervals after Student, against quantiles of printed tables."""

import math
import statistics

import pytest

from slfac.device.profiling.spread import Figure, quantile, student

pytestmark = pytest.mark.device

# 97.5 % quantiles by degrees of freedom.
TABLE = {
    1: 12.7062,
    2: 4.30265,
    3: 3.18245,
    4: 2.77645,
    5: 2.57058,
    6: 2.44691,
    9: 2.26216,
    19: 2.09302,
    29: 2.04523,
    99: 1.98422,
}


@pytest.mark.parametrize(("freedom", "value"), TABLE.items())
def test_quantiles_are_those_of_the_table(freedom, value):
    assert quantile(freedom) == pytest.approx(value, rel=1e-3)


def test_a_figure_is_the_mean_with_its_interval():
    values = [9.8, 10.4, 10.1, 9.9, 10.3]
    half = TABLE[4] * statistics.stdev(values) / math.sqrt(5)
    found = student(values)
    assert found.value == pytest.approx(10.1)
    assert found.low == pytest.approx(10.1 - half, rel=1e-4)
    assert found.high == pytest.approx(10.1 + half, rel=1e-4)
    assert found.runs == 5


def test_nothing_takes_less_than_no_time():
    assert student([0.0, 0.0, 0.0, 0.0, 10.0]).low == 0.0


def test_a_mean_below_zero_has_an_interval_below_zero():
    found = student([-1.0, -1.2, -0.8, -1.1, -0.9])
    assert found.low < found.value < 0


def test_one_repetition_has_no_interval_and_none_no_figure():
    assert student([3.0]) == Figure(3.0, None, None, 1)
    assert student([]) is None

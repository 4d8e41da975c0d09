"""Statistics of rate experiments, held to naive versions of themselves."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slfac.testbed.experiment.stats import paired_difference, spread
from slfac.testbed.rate.summary import pareto_front

# Two-sided 95 %, from any printed table.
TABLE = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 9: 2.262, 10: 2.228, 29: 2.045, 30: 2.042}
accuracies = st.floats(0, 100)


def half_width(differences):
    """Of the 95 % interval, by adding up the density of Student's t until it comes to 0.975."""
    freedom = len(differences) - 1
    x, step = np.linspace(0, 50, 2_000_001, retstep=True)
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2))
    density = scale / math.sqrt(freedom * math.pi) * (1 + x * x / freedom) ** (-(freedom + 1) / 2)
    share = 0.5 + np.cumsum(density) * step
    return x[np.searchsorted(share, 0.975)] * np.std(differences, ddof=1) / math.sqrt(freedom + 1)


@pytest.mark.parametrize(("freedom", "value"), TABLE.items())
def test_intervals_are_those_of_the_tables(freedom, value):
    rng = np.random.default_rng(freedom)
    values = rng.normal(0, 1, freedom + 1)
    got = paired_difference(list(values), [0.0] * len(values))
    scale = values.std(ddof=1) / math.sqrt(len(values))
    assert (got.high - got.low) / 2 == pytest.approx(value * scale, rel=3e-4)


@given(st.lists(accuracies, min_size=1, max_size=6))
def test_a_spread_is_mean_and_sample_deviation(values):
    got = spread(values)
    mean = sum(values) / len(values)
    assert got.mean == pytest.approx(mean, abs=1e-9)
    if len(values) == 1:
        assert got.std is None
    else:
        variance = sum((v - mean) ** 2 for v in values) / (len(values) - 1)
        assert got.std == pytest.approx(math.sqrt(variance), abs=1e-6)


@pytest.mark.parametrize("count", [2, 3, 4, 5, 10])
def test_a_paired_difference_is_that_of_a_t_test(count):
    rng = np.random.default_rng(count)
    values, baseline = rng.uniform(0, 100, (2, count))
    got = paired_difference(list(values), list(baseline))
    differences = values - baseline
    half = half_width(differences)
    assert got.mean == pytest.approx(differences.mean())
    assert got.low == pytest.approx(differences.mean() - half, rel=1e-3)
    assert got.high == pytest.approx(differences.mean() + half, rel=1e-3)


def test_pairing_takes_out_what_the_seeds_have_in_common():
    got = paired_difference([86.0, 80.5, 90.0], [86.5, 81.0, 90.5])
    assert (got.mean, got.low, got.high) == (-0.5, -0.5, -0.5)


def test_one_seed_has_no_interval():
    got = paired_difference([3.0], [1.0])
    assert (got.mean, got.low, got.high) == (2.0, None, None)


def test_the_interval_holds_the_truth_95_times_of_100():
    rng = np.random.default_rng(0)
    draws = rng.normal(1.0, 2.0, (4000, 3))
    zeros = [0.0] * 3
    found = [paired_difference(list(row), zeros) for row in draws]
    share = np.mean([entry.low <= 1.0 <= entry.high for entry in found])
    assert share == pytest.approx(0.95, abs=0.012)


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), max_size=7))
def test_the_front_is_what_nothing_dominates(points):
    def dominates(a, b):
        return a[0] <= b[0] and a[1] >= b[1] and a != b

    wanted = set(range(len(points)))
    for (_, a), (j, b) in itertools.permutations(enumerate(points), 2):
        if dominates(a, b):
            wanted.discard(j)
    assert pareto_front(points) == wanted

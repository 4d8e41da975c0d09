"""Energy of one stretch after another is that of all of them together."""

import numpy as np
import pytest

from slfac.device.energy.integrate import integrate
from slfac.device.energy.outcome import Stretch
from slfac.device.energy.tally import Tally
from slfac.device.energy.trace import PowerTrace

pytestmark = pytest.mark.device


def trace(t_s, watts, window_s=0.0, *, counted=False):
    t_s = np.asarray(t_s, dtype=np.float64)
    return PowerTrace(
        t_s, np.full(len(t_s), float(window_s)), np.broadcast_to(watts, t_s.shape) * 1.0, counted
    )


def stretches(whole, cuts):
    """What is known of each stretch, its readings handed out at its end."""
    tally, before = Tally(cuts[0]), cuts[0]
    for cut in cuts[1:]:
        yield tally.add(whole.where((whole.t_s > before) & (whole.t_s <= cut)), cut)
        before = cut


@pytest.mark.parametrize("counted", [False, True])
def test_stretches_add_up_to_the_whole(counted):
    rng = np.random.default_rng(1)
    t_s = 0.05 * (np.arange(400) + rng.uniform(0.2, 0.8, 400))
    gaps = np.diff(t_s, prepend=0.0)
    watts = 3 + np.sin(t_s)
    whole = PowerTrace(t_s, gaps if counted else np.zeros(400), watts, counted)
    parts = list(stretches(whole, [1.0, 4.0, 4.3, 11.0, 19.0]))
    total = integrate(whole, 1.0, 19.0)
    assert sum(part.joules for part in parts) == pytest.approx(total.joules, rel=2e-3)
    assert sum(part.covered_s for part in parts) == pytest.approx(18.0, abs=0.3)


def test_stretches_may_be_shorter_than_the_sensors_period():
    whole = trace(np.arange(0.0, 30.0), 5.0)
    parts = list(stretches(whole, [10.1, *np.arange(10.4, 20.0, 0.3)]))
    # The first has nothing to go by yet, nor has the next until two readings are in.
    assert [part.joules for part in parts if part.joules is None] == [None] * 6
    told = [part for part in parts if part.joules is not None]
    assert all(part.joules == pytest.approx(1.5) for part in told)
    assert all(part.missing_s == 0 for part in told)


def test_a_sensor_that_vanishes_leaves_the_rest_unknown():
    whole = trace(np.arange(0.0, 10.0, 0.1), 4.0)
    first, second, third = stretches(whole, [1.0, 5.0, 15.0, 20.0])
    assert first.joules == pytest.approx(16.0)
    assert (first.covered_s, first.missing_s) == (4.0, 0.0)
    assert second.joules == pytest.approx(19.6, abs=0.5)
    assert second.missing_s == pytest.approx(5.1)
    assert third.joules is None
    assert third.missing_s == 5.0
    spent = Stretch().plus(first).plus(second).plus(third)
    assert spent.joules == pytest.approx(35.6, abs=0.5)
    assert spent.known is None
    assert Stretch().plus(first).known == pytest.approx(16.0)


def test_more_coming_in_than_going_out_is_unknown_not_less_than_nothing():
    (part,) = stretches(trace(np.arange(0.0, 5.0, 0.1), -2.0), [0.0, 4.0])
    assert part.joules is None
    assert part.missing_s == 4.0


def test_nothing_spent_is_known():
    (part,) = stretches(trace(np.arange(0.0, 5.0, 0.1), 0.0), [0.0, 4.0])
    spent = Stretch().plus(part)
    assert spent.joules == spent.known == spent.watts == 0.0
    assert Stretch().known is None
    assert Stretch().watts is None

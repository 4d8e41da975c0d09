"""Schedules by hand, and their bounds; torch is the oracle in tests/unit/server."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slfac.codec.schedule import make_schedule
from slfac.wire.errors import SettingsError

pytestmark = pytest.mark.device


def shares(spec, rounds, steps_per_round=0):
    schedule = make_schedule(spec, rounds=rounds, steps_per_round=steps_per_round)
    steps = steps_per_round or 1
    return [schedule.share(r, s) for r in range(rounds) for s in range(steps)]


def test_by_hand():
    assert shares("constant", 3) == [1, 1, 1]
    assert shares("constant:warmup=2", 4) == [0.5, 1, 1, 1]
    assert shares("linear", 4) == pytest.approx([1, 0.75, 0.5, 0.25])
    assert shares("linear:final=0.5,warmup=1", 3) == pytest.approx([1, 1, 0.75])
    assert shares("cosine", 4) == pytest.approx([1, 0.85355339, 0.5, 0.14644661])
    assert shares("cosine:final=0.5", 2) == pytest.approx([1, 0.75])
    assert shares("step:every=2,factor=0.5", 5) == [1, 1, 0.5, 0.5, 0.25]
    assert shares("step:every=1,factor=0", 3) == [1, 0, 0]


def test_a_set_number_of_steps_moves_the_rate_with_every_step():
    assert shares("linear", 2, 2) == pytest.approx([1, 0.75, 0.5, 0.25])
    assert shares("constant:warmup=1.5", 3, 2) == pytest.approx([1 / 3, 2 / 3, 1, 1, 1, 1])
    assert shares("step:every=1", 2, 3) == pytest.approx([1, 1, 1, 0.1, 0.1, 0.1])


def test_a_pass_over_the_data_is_one_rate_however_many_steps_it_takes():
    schedule = make_schedule("linear", rounds=4, steps_per_round=0)
    assert {schedule.share(1, step) for step in (0, 1, 17, 10**9)} == {0.75}


@given(
    st.sampled_from(["constant", "linear:final=0.1", "cosine", "step:every=2"]),
    st.integers(1, 20),
    st.integers(0, 9),
    st.data(),
)
def test_it_is_known_from_round_and_step_alone(spec, rounds, steps, data):
    schedule = make_schedule(spec, rounds=rounds, steps_per_round=steps)
    round_ = data.draw(st.integers(0, rounds - 1))
    step = data.draw(st.integers(0, max(steps, 1) - 1))
    share = schedule.share(round_, step)
    assert 0 <= share <= 1
    # Whoever joined in another round counts from there.
    for joined in range(round_ + 1):
        assert schedule.share(round_, (round_ - joined) * steps + step) == share


@given(st.text(max_size=40) | st.sampled_from(["cosine:", "step:", "linear:"]), st.integers(1, 9))
def test_any_other_text_is_refused_with_a_remedy(text, rounds):
    for spec in (text, f"cosine:{text}", f"step:every={text}", f"linear:final={text}"):
        try:
            schedule = make_schedule(spec, rounds=rounds, steps_per_round=0)
        except SettingsError as error:
            refused = error
        else:
            assert 0 <= schedule.share(rounds - 1, 0) <= 1
            continue
        assert refused.what


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("exponential", "schedule 'exponential' is unknown"),
        ("constant:final=1", "no field final"),
        ("linear:final=1.1", "field final is 1.1"),
        ("cosine:final=nan", "field final is nan"),
        ("cosine:warmup=-1", "field warmup is -1"),
        ("cosine:warmup=5", "field warmup is 5, of 5 rounds"),
        ("constant:warmup=4.9", "field warmup is 4.9, of 5 rounds"),
        ("step:every=0", "field every is 0"),
        ("step:every=1.5", "field every is 1.5"),
        ("step:factor=2", "field factor is 2"),
    ],
)
def test_what_is_wrong_is_said(spec, said):
    with pytest.raises(SettingsError, match=said) as caught:
        make_schedule(spec, rounds=5, steps_per_round=0)
    assert caught.value.remedy

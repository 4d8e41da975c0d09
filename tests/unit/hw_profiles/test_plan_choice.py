"""Intervals of sums, products and differences; the Pareto front; choosing; links by name."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.plans import measured_board, profile, value
from slfac.hw_profiles.choice import choose, less, pareto
from slfac.hw_profiles.estimate import (
    Unknown,
    added,
    between,
    exact,
    figure_of,
    inverse,
    product,
    total,
    within,
)
from slfac.hw_profiles.link import LINK, choose_path
from slfac.wire.errors import SettingsError

pytestmark = pytest.mark.device

figures = st.builds(
    lambda v, below, above, cause: between(v, v - min(below, v), v + above, "spec", "", cause),
    st.floats(0, 1e6),
    st.floats(0, 1e6),
    st.floats(0, 1e6),
    st.sampled_from(["computing", "link", "idle power"]),
)


# The side of the first part is lost where it is added to the second's value.
@example([between(0.0, 0.0, 4e-223, "spec", "", "link"), exact(1.0, "")])
@given(st.lists(figures, max_size=6))
def test_a_sum_holds_its_value_and_is_no_narrower_than_any_part(parts):
    whole = added(parts)
    assert whole.low <= whole.value <= whole.high
    assert whole.value == pytest.approx(sum(part.value for part in parts))
    widest = max((part.high - part.value for part in parts), default=0)
    together = sum(part.high - part.value for part in parts)
    width, rounding = whole.high - whole.value, 2 * math.ulp(whole.high)
    assert widest * (1 - 1e-9) - rounding <= width <= together * (1 + 1e-9) + 1e-6


def test_errors_of_one_cause_add_up_and_of_others_their_squares():
    one, other = (between(10, 7, 13, "spec", "", "a") for _ in range(2))
    apart = between(10, 6, 14, "spec", "", "b")
    assert added([one, other]).high == 26
    assert added([one, apart]).high == 25
    assert added([one, other, apart]).high == pytest.approx(30 + math.hypot(6, 4))


@given(figures, figures)
def test_a_product_holds_its_value(one, other):
    whole = product(one, other, "")
    assert whole.low <= whole.value <= whole.high
    assert whole.value == one.value * other.value


def test_a_product_of_one_cause_goes_to_both_ends():
    one = between(10, 5, 20, "spec", "", "a")
    assert (product(one, one, "").low, product(one, one, "").high) == (25, 400)


def test_the_time_of_an_amount_turns_the_interval_round():
    guess = inverse(between(10, 5, 20, "measured", "", "a"), 100, "", "a")
    assert (guess.value, guess.low, guess.high) == (10, 5, 20)


def test_unknown_stays_unknown_and_says_why():
    assert (
        total([exact(1, ""), Unknown("no a"), Unknown("no b"), Unknown("no a")]).why == "no a; no b"
    )


def test_a_figure_without_an_interval_is_as_wide_as_its_tier():
    assert figure_of(value(4.0), cause="a", at_home=False).high == 8
    assert figure_of(value(4.0), cause="a", at_home=False).tier == "spec"
    assert figure_of(value(4.0), cause="a", at_home=True).high == pytest.approx(4.6)
    own = figure_of(value(4.0, 3.0, 5.0), cause="a", at_home=True)
    assert (own.low, own.high, own.tier) == (3, 5, "measured")
    assert figure_of(value(4.0, -1.0, 5.0), cause="a", at_home=True).low == 0
    assert figure_of(value(4.0, 3.0, 5.0), cause="a", at_home=False).tier == "spec"


rows = st.lists(st.tuples(*[st.integers(0, 4)] * 3), max_size=8)


@given(rows)
def test_what_is_off_the_front_is_beaten_by_what_is_on_it(points):
    front = pareto(points)
    assert any(front) == bool(points)
    for point, on in zip(points, front, strict=True):
        beaten = any(
            other != point and all(a <= b for a, b in zip(other, point, strict=True))
            for other, theirs in zip(points, front, strict=True)
            if theirs
        )
        assert on != beaten


def spread(number, factor, cause="computing"):
    return within(number, factor - 1, "spec", "", cause)


def test_the_best_is_chosen_where_intervals_are_apart():
    verdict = choose("time", [spread(10, 2), spread(1, 2), spread(100, 2)])
    assert (verdict.best, verdict.separated, verdict.remaining) == (1, True, (1,))


def test_where_they_overlap_all_that_remain_are_named():
    verdict = choose("time", [spread(2, 2), spread(1, 2), spread(100, 2), spread(1.5, 2)])
    assert (verdict.best, verdict.separated) == (1, False)
    assert verdict.remaining == (1, 3, 0)


def test_an_unknown_one_is_neither_chosen_nor_in_the_way():
    verdict = choose("energy", [Unknown("no idle_w"), spread(3, 1.1)])
    assert verdict.remaining == (1,)
    assert choose("energy", [Unknown("x")]).remaining == ()
    assert choose("energy", []).best is None


def test_equal_ones_cannot_be_told_apart():
    assert choose("bytes", [exact(5, ""), exact(5, ""), exact(6, "")]).remaining == (0, 1)


def test_what_is_one_number_for_all_cancels():
    slow, fast = spread(20, 2, LINK), spread(10, 2, LINK)
    assert less(fast, slow)
    assert not less(slow, fast)
    assert not less(spread(10, 2), spread(20, 2))
    # Only as far as both use it: the one that sends less may still compute more.
    computes = added([spread(2, 2, LINK), spread(7, 1.1)])
    assert not less(computes, added([spread(12, 2, LINK)]))
    assert less(computes, added([spread(25, 2, LINK)]))


@given(st.lists(figures, min_size=1, max_size=6))
def test_the_best_is_always_among_those_that_remain(values):
    verdict = choose("time", values)
    assert verdict.remaining[0] == verdict.best or values[verdict.remaining[0]].value == (
        values[verdict.best].value
    )
    assert verdict.best in verdict.remaining


def test_a_link_at_a_rate():
    path = choose_path("wifi-20/7.5ms", measured_board())
    assert (path.up_mbits.value, path.down_mbits.value, path.rtt_ms.value) == (20, 20, 7.5)
    assert path.up_mbits.tier == path.rtt_ms.tier == "given"
    assert path.link.name == "wifi"
    own = choose_path("wifi", measured_board())
    assert (own.up_mbits.low, own.up_mbits.high, own.up_mbits.tier) == (36, 44, "measured")
    bare = choose_path("2.5Mbit/5ms", measured_board())
    assert (bare.up_mbits.value, bare.rtt_ms.value, bare.link) == (2.5, 5, None)
    assert isinstance(choose_path("20mbit", measured_board()).rtt_ms, Unknown)


@pytest.mark.parametrize(
    "text",
    ["", "lan", "wifi-", "wifi-0", "wifi-1e9", "0mbit", "wifi-20/", "wifi-20/5", "9999999mbit"],
)
def test_other_links_are_refused(text):
    with pytest.raises(SettingsError, match=r"--link is .*(wifi|a rate of)"):
        choose_path(text, measured_board())


def test_a_profile_without_links_says_what_else_there_is():
    with pytest.raises(SettingsError, match=r"\(none\).*20mbit/5ms"):
        choose_path("wifi", profile())

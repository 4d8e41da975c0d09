"""Predictions: each tier, what scales with what, and what stays unknown."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.plans import (
    SLFAC,
    codecs,
    costs,
    gemm,
    layer,
    measured_board,
    phases,
    power,
    profile,
    value,
)
from slfac.hw_profiles import load_profile, profile_names
from slfac.hw_profiles.estimate import Estimate, Unknown, between, exact
from slfac.hw_profiles.link import choose_path
from slfac.hw_profiles.machine import Machine, choose_mode
from slfac.hw_profiles.power import dynamic_w
from slfac.hw_profiles.predict import Load, predict_round, predict_step, times
from slfac.hw_profiles.schema import FrontCost, Link
from slfac.wire.costs import costs_id

pytestmark = pytest.mark.device

FRONT = costs(layer("conv", 10_000_000, 100_000, 4_000), residual=1_000_000)
REFERENCE = measured_board(memcpy=4.0)


def machine(board=None, reference=None, **more):
    board = board or measured_board()
    return Machine(board, board.modes[0], reference, **more)


def load(batch=10, codec="none", up=100_000.0, server=None, front=FRONT):
    size = exact(up, "counted")
    server = server or exact(3.0, "given")
    return Load("x", front, batch, codec, 1_000_000, size, size, server, 50_000)


def published(gflops=8.0, dtype="fp64", threads=4, workload="hpl", **more):
    """A board that others have measured: 2 GFLOP/s a core, to the reference's 40."""
    fields = {"compute": (gemm(gflops, dtype, threads, workload),), **more}
    return profile("published", **fields)


def test_a_fitted_phase_is_the_sum_of_its_parts():
    guess = machine().front_ms(FRONT, 10, "forward", "x")
    # t0, 0.1 GFLOP at 10 a second, and a megabyte with the weights at a gigabyte a second.
    assert guess.value == pytest.approx(1 + 10 + 1e3 * 1e-9 * (10 * 100_000 + 4_000))
    assert guess.tier == "calibrated"
    assert (guess.low, guess.high) == pytest.approx((guess.value / 1.5, guess.value * 1.5))
    assert sum(term.value for term in guess.terms) == pytest.approx(guess.value)


def test_a_narrow_fit_is_no_narrower_than_15_percent():
    board = measured_board(phases=phases(spread=0.01))
    guess = machine(board).front_ms(FRONT, 10, "forward", "x")
    assert guess.high / guess.value == pytest.approx(1.15)


def test_a_model_of_which_no_front_was_measured_has_a_wider_interval():
    known = machine().front_ms(FRONT, 10, "forward", "x")
    other = machine().front_ms(FRONT, 10, "forward", "y")
    assert other.value == known.value
    # Only one model was measured: nothing tells what another does.
    assert other.high == pytest.approx(2 * other.value)
    assert "no front of y was measured" in other.terms[0].source
    told = tuple(
        msgspec.structs.replace(phase, unseen_spread=value(2.0)) for phase in phases(spread=0.5)
    )
    wide = machine(measured_board(phases=told)).front_ms(FRONT, 10, "forward", "y")
    assert wide.high == pytest.approx(3 * wide.value)
    carried = machine(published(gflops=160.0, memcpy=4.0), measured_board(memcpy=4.0, phases=told))
    assert carried.front_ms(FRONT, 10, "forward", "y").high == pytest.approx(3 * wide.value)


def front_cost(**more):
    fields = {"model": "x", "cut": "y", "device": "cpu", "batch": 10, "threads": 1}
    return FrontCost(
        **{**fields, "costs": costs_id(FRONT), "forward_ms": value(7.0, 6.5, 7.5), **more}
    )


def test_the_very_front_that_was_measured_has_its_own_interval():
    board = machine(measured_board(fronts=(front_cost(peak_mib=value(99.0, 98.0, 100.0)),)))
    guess = board.front_ms(FRONT, 10, "forward", "x")
    assert (guess.value, guess.low, guess.high, guess.tier) == (7.0, 6.5, 7.5, "measured")
    assert board.peak_mib(FRONT, 10).value == 99.0
    for other in (
        board.front_ms(FRONT, 11, "forward", "x"),
        board.front_ms(FRONT, 10, "backward", "x"),
    ):
        assert other.tier == "calibrated"
    wider = costs(layer("conv", 10_000_001, 100_000, 4_000), residual=1_000_000)
    assert board.front_ms(wider, 10, "forward", "x").tier == "calibrated"
    assert machine(board.profile, threads=2).front_ms(FRONT, 10, "forward", "x") != guess


def test_what_others_measured_of_a_front_is_not_this_board():
    board = machine(profile("published", fronts=(front_cost(),)))
    assert isinstance(board.front_ms(FRONT, 10, "forward", "x"), Unknown)


def test_a_board_of_half_the_speed_takes_twice_as_long():
    board = machine(published(gflops=80.0, memcpy=2.0), REFERENCE)
    guess = board.front_ms(FRONT, 10, "forward", "x")
    same = machine(REFERENCE).front_ms(FRONT, 10, "forward", "x")
    assert guess.value == pytest.approx(2 * same.value)
    assert (guess.low, guess.high) == pytest.approx((guess.value / 2, guess.value * 2))
    assert guess.tier == "spec"
    assert "carried over" in guess.terms[0].source
    # The slower of the two ratios holds for codecs.
    faster = machine(published(gflops=80.0, memcpy=0.4), REFERENCE)
    here = machine(REFERENCE).codec_ms("none", "encode", 10**6).value
    assert faster.codec_ms("none", "encode", 10**6).value == pytest.approx(10 * here)


@pytest.mark.parametrize(
    ("board", "why"),
    [
        (published(workload="peak"), "no computing figures of its CPU; nothing to predict from"),
        (published(dtype="fp32"), "no computing figures of its CPU; nothing to predict from"),
        (published(compute=()), "no computing figures of its CPU; nothing to predict from"),
    ],
)
def test_nothing_is_predicted_from_what_cannot_be_compared(board, why):
    guess = machine(board, REFERENCE).front_ms(FRONT, 10, "forward", "x")
    assert why in guess.why
    assert "slfac profile run" in guess.why


def test_what_is_missing_is_unknown():
    bare = machine(published())
    assert "no fitted phases" in bare.front_ms(FRONT, 10, "forward", "x").why
    no_memory = msgspec.structs.replace(published(), hardware=published().hardware.__class__())
    board = machine(no_memory, REFERENCE)
    assert isinstance(board.front_ms(FRONT, 10, "forward", "x"), Unknown)
    two = machine(published(), REFERENCE, threads=2)
    assert "2 threads" in two.front_ms(FRONT, 10, "forward", "x").why
    cuda = machine(published(), REFERENCE, device="cuda")
    assert "cuda were measured on no machine" in cuda.front_ms(FRONT, 10, "forward", "x").why
    assert (
        "codec fast was not measured"
        in machine(published(), REFERENCE).codec_ms("fast", "encode", 1).why
    )
    assert "memory of fronts" in bare.peak_mib(FRONT, 10).why


def test_a_codec_takes_its_start_and_its_bytes():
    (plain, *_) = codecs()
    slow = msgspec.structs.replace(
        plain, encode_t0_ms=value(2.0), encode_mbs=value(100.0, 80.0, 125.0)
    )
    board = machine(measured_board(codecs=(slow,)))
    guess = board.codec_ms("none", "encode", 10**6)
    assert guess.value == pytest.approx(12.0)
    assert guess.high == pytest.approx(12.0 * 1.25)
    assert board.codec_ms("none", "decode", 10**6).value == pytest.approx(0.5)


def test_memory_is_process_weights_and_residuals():
    guess = machine().peak_mib(FRONT, 10)
    assert guess.value == pytest.approx(50 + (4 * 4_000 + 2 * 10 * 1_000_000) / 2**20)
    carried = machine(published(), REFERENCE).peak_mib(FRONT, 10)
    assert (carried.value, carried.tier) == (pytest.approx(guess.value), "spec")
    assert carried.high == pytest.approx(2 * carried.value)


def test_a_step_is_the_sum_of_its_phases():
    step = predict_step(machine(), choose_path("wifi", measured_board()), load())
    parts = {phase.name: phase for phase in step.phases}
    assert list(parts) == ["forward", "encode", "send", "wait", "decode", "backward", "update"]
    assert step.ms.value == pytest.approx(sum(phase.ms.value for phase in parts.values()))
    assert step.joules.value == pytest.approx(sum(phase.joules.value for phase in parts.values()))
    assert parts["send"].ms.value == pytest.approx(100_000 * 8 / 40e3)
    assert parts["wait"].ms.value == pytest.approx(2 + 3 + 100_000 * 8 / 80e3)
    assert parts["send"].joules.value == pytest.approx(2.0 * 0.020 + 0.1 * 1.0)
    assert parts["wait"].joules.value == pytest.approx(2.0 * 0.015 + 0.1 * 0.5)
    assert parts["forward"].joules.value == pytest.approx(4.0 * 1e-3 * parts["forward"].ms.value)
    # Of phases that were not told: from a quarter to all of what four busy cores draw.
    encode = 1e-3 * parts["encode"].ms.value
    assert parts["encode"].joules.value == pytest.approx((2.0 + 2.0) * encode)
    assert step.bytes.value == 200_000
    assert step.joules.low < step.joules.value < step.joules.high


def test_a_round_is_its_steps_and_the_weights():
    board, path = machine(), choose_path("wifi", measured_board())
    step = predict_step(board, path, load())
    whole = predict_round(board, path, load(), step, samples=95)
    weights = whole.phases[-1]
    assert weights.name == "weights"
    assert weights.ms.value == pytest.approx(2 + 50_000 * 8 / 40e3 + 50_000 * 8 / 80e3)
    assert whole.ms.value == pytest.approx(10 * step.ms.value + weights.ms.value)
    assert whole.joules.value == pytest.approx(10 * step.joules.value + weights.joules.value)
    assert whole.up_bytes.value == 10 * 100_000 + 50_000
    assert times(whole, 3).ms.value == pytest.approx(3 * whole.ms.value)
    assert times(whole, 3).peak_mib == step.peak_mib


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 64),
    st.floats(0, 1e8),
    st.sampled_from(["none", "fp16", SLFAC]),
    st.sampled_from(["measured", "published"]),
)
def test_intervals_hold_their_value_and_more_never_takes_less(batch, size, codec, origin):
    if origin == "measured":
        board = machine()
    else:
        board = machine(published(idle_w=power(2.0), active_w=power(5.0)), REFERENCE)
    path = choose_path("wifi", measured_board())
    step = predict_step(board, path, load(batch, codec, size))
    more = predict_step(board, path, load(batch + 1, codec, size + 1000))
    for phase, larger in zip(step.phases, more.phases, strict=True):
        assert 0 <= phase.ms.low <= phase.ms.value <= phase.ms.high
        assert 0 <= phase.joules.low <= phase.joules.value <= phase.joules.high
        assert larger.ms.value >= phase.ms.value
        assert larger.joules.value >= phase.joules.value
    assert step.ms.low <= step.ms.value <= step.ms.high
    assert step.peak_mib.value <= more.peak_mib.value
    assert step.ms.tier == ("calibrated" if origin == "measured" else "spec")


def test_one_unknown_phase_makes_time_and_energy_unknown():
    board = machine(measured_board(codecs=()))
    step = predict_step(board, choose_path("wifi", board.profile), load())
    assert isinstance(step.phases[0].ms, Estimate)
    assert isinstance(step.ms, Unknown)
    assert isinstance(step.joules, Unknown)
    assert "codec none was not measured" in step.ms.why


def test_without_idle_power_there_are_times_and_no_joules():
    board = machine(measured_board(idle_w=None, phases=phases(), active_w=None))
    step = predict_step(board, choose_path("wifi", board.profile), load())
    assert isinstance(step.ms, Estimate)
    assert "has no idle_w" in step.joules.why


def test_without_the_radio_energy_is_at_least_the_rest():
    board = machine()
    path = choose_path("20mbit/5ms", board.profile)
    step = predict_step(board, path, load())
    assert step.joules.missing == ("radio: link 20mbit/5ms has no figures of energy",)
    assert step.ms.missing == ()
    without_trip = predict_step(board, choose_path("20mbit", board.profile), load())
    assert [why.partition(":")[0] for why in without_trip.ms.missing] == ["round trip"]
    assert without_trip.ms.value == pytest.approx(step.ms.value - 5)


def test_busy_cores_bound_what_a_thread_draws():
    board = machine(published(idle_w=power(2.0), active_w=power(6.0)), REFERENCE)
    guess = dynamic_w(board, "forward")
    assert (guess.value, guess.low, guess.high, guess.tier) == (2.0, 1.0, 4.0, "spec")
    assert dynamic_w(board, "wait").value == 0
    mixed = machine(published(idle_w=power(2.0), active_w=power(6.0, scope="wall")), REFERENCE)
    assert dynamic_w(mixed, "forward").why.endswith("idle_w is of board, active_w of wall")
    upside_down = machine(published(idle_w=power(6.0), active_w=power(2.0)), REFERENCE)
    assert isinstance(dynamic_w(upside_down, "forward"), Unknown)


def test_the_mode_of_which_most_is_known_is_taken():
    orin = load_profile("orin-nano")
    assert choose_mode(orin).name == "MAXN_SUPER"
    assert choose_mode(orin, "15W").name == "15W"
    assert "it has 15W" in choose_mode(orin, "60W").why


def test_boards_of_slfac_are_predicted_or_say_why_not():
    for name in profile_names():
        board = load_profile(name)
        mode = choose_mode(board)
        guess = mode
        if not isinstance(mode, Unknown):
            guess = Machine(board, mode, REFERENCE).front_ms(FRONT, 8, "forward", "x")
        if isinstance(guess, Unknown):
            assert "nothing to predict from" in guess.why
        else:
            assert guess.tier == "spec"
    for name in ("pi-4b", "pi-5", "orin-nano"):
        board = load_profile(name)
        guess = Machine(board, choose_mode(board), REFERENCE).front_ms(FRONT, 8, "forward", "x")
        assert isinstance(guess, Estimate)


def test_a_wide_server_widens_the_wait_alone():
    board, path = machine(), choose_path("wifi", measured_board())
    wide = load(server=between(3.0, 1.0, 9.0, "spec", "measured here", "server"))
    step, narrow = (predict_step(board, path, one) for one in (wide, load()))
    assert step.ms.value == narrow.ms.value
    assert step.ms.high > narrow.ms.high
    assert step.phases[0] == narrow.phases[0]
    assert step.ms.tier == "spec"
    unknown = predict_step(board, path, load(server=Unknown("no server")))
    assert unknown.ms == Unknown("no server")


def test_packets_and_power_of_a_link():
    sends = Link(
        name="e",
        up_mbits=value(80.0),
        down_mbits=value(80.0),
        rtt_ms=value(0.0),
        send_w=power(0.5),
        receive_w=power(0.25),
    )
    board = measured_board(links=(sends,))
    # Held to 8 Mbit/s, it still draws for as long as at full speed.
    path = choose_path("e-8", board)
    assert path.send_ms(exact(1e6, "")).value == pytest.approx(1000)
    assert path.send_j(exact(1e6, "")).value == pytest.approx(0.5 * 0.1)
    assert path.receive_j(exact(1e6, "")).value == pytest.approx(0.25 * 0.1)
    frames = Link(name="e", send_j_per_mb=value(1.0), j_per_frame=value(0.001))
    path = choose_path("e-8", measured_board(links=(frames,)))
    assert path.send_j(exact(1448e3, "")).value == pytest.approx(1.448 + 1.0)
    assert isinstance(path.receive_j(exact(1.0, "")), Unknown)

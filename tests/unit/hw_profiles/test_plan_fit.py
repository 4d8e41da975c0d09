"""Fits: what made the times is found again, and what cannot be told is not."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.plans import costs, layer, timed
from slfac.hw_profiles import Profile, load_profile, write_profile
from slfac.hw_profiles.fit import (
    MIN_FRONTS,
    Timed,
    fit_memory,
    fit_phase,
    fit_phases,
    memory_mib,
    spread_of,
)
from slfac.hw_profiles.nnls import nnls
from slfac.hw_profiles.schema import SCHEMA, Board, Mode, Provenance
from slfac.hw_profiles.work import work_of
from slfac.wire.errors import SettingsError

pytestmark = pytest.mark.device

KINDS = ("conv", "depthwise", "matmul", "norm", "other")


def _front(i):
    layers = [
        layer(KINDS[(i + j) % 5], 10**6 * (1 + 7 * i * (j + 1) % 11), 1000 * (1 + i), 400 * (1 + i))
        for j in range(1 + i % 4)
    ]
    return costs(*layers)


FRONTS = [_front(i) for i in range(12)]
SPEEDS = st.floats(0.1, 1000)


@given(st.integers(1, 8), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_no_better_solution_is_near(rows, columns, seed):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((rows, columns)) * 10.0 ** rng.integers(-9, 9, columns)
    b = rng.standard_normal(rows)
    x = nnls(a, b)
    assert (x >= 0).all()
    # Karush, Kuhn and Tucker: no coefficient gains by growing, nor a positive one by shrinking.
    slope = (a / np.linalg.norm(a, axis=0)).T @ (b - a @ x)
    assert (slope < 1e-6).all()
    assert (np.abs(slope[x > 0]) < 1e-6).all()


def test_a_column_of_nothing_gets_nothing():
    assert nnls(np.array([[1.0, 0.0], [2.0, 0.0]]), np.array([3.0, 6.0])).tolist() == [3.0, 0.0]
    assert nnls(np.ones((3, 2)), np.zeros(3)).tolist() == [0.0, 0.0]


@settings(max_examples=30, deadline=None)
@given(SPEEDS, SPEEDS)
def test_times_without_noise_are_predicted_exactly(gflops, gbs):
    fronts = [timed(front, batch, gflops, gbs) for front in FRONTS for batch in (4, 32)]
    for phase in ("forward", "backward", "update"):
        fit = fit_phase(fronts, phase)
        assert fit.spread < 1e-3
        for front in fronts:
            work = work_of(front.costs, front.batch, phase)
            assert fit.predict_ms(work) == pytest.approx(getattr(front, f"{phase}_ms"), rel=1e-4)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.01, 100), st.integers(0, 2**32 - 1))
def test_a_board_so_many_times_as_slow_has_speeds_so_many_times_as_small(factor, seed):
    rng = np.random.default_rng(seed)
    noisy = [
        Timed(f.costs, f.batch, *(getattr(f, f"{p}_ms") * rng.uniform(0.8, 1.2) for p in PHASES))
        for f in (timed(front, 8) for front in FRONTS)
    ]
    slow = [
        Timed(f.costs, f.batch, *(factor * getattr(f, f"{p}_ms") for p in PHASES)) for f in noisy
    ]
    for phase in PHASES:
        one, other = fit_phase(noisy, phase), fit_phase(slow, phase)
        assert other.spread == pytest.approx(one.spread, rel=1e-3, abs=1e-6)
        for front in FRONTS:
            work = work_of(front, 8, phase)
            assert other.predict_ms(work) == pytest.approx(factor * one.predict_ms(work), rel=1e-3)


PHASES = ("forward", "backward", "update")


def test_more_to_do_never_takes_less():
    rng = np.random.default_rng(0)
    noisy = [Timed(front, 8, *(rng.uniform(1, 9) for _ in PHASES)) for front in FRONTS]
    for phase in PHASES:
        fit = fit_phase(noisy, phase)
        times = [fit.predict_ms(work_of(FRONTS[3], batch, phase)) for batch in (1, 2, 8, 64)]
        assert times == sorted(times)
        assert min(times) >= 0


def test_work_grows_with_the_batch_but_weights_do_not():
    front = costs(layer("conv", 2_000_000, 1_000, 400), layer("matmul", 1_000, 10, 40, "b"))
    forward, backward = work_of(front, 10, "forward"), work_of(front, 10, "backward")
    assert (forward.conv_gflop, forward.matmul_gflop) == pytest.approx((0.02, 1e-5))
    assert forward.gb == pytest.approx(1e-9 * (10 * 1_010 + 440))
    assert backward.gflop == pytest.approx(2 * forward.gflop)
    assert backward.gb == pytest.approx(1e-9 * (10 * 2_020 + 2 * 440))
    update = work_of(front, 10, "update")
    assert (update.gb, update.layers, update.gflop) == (pytest.approx(440e-9), 2, 0)


def test_the_spread_covers_what_was_seen():
    rng = np.random.default_rng(1)
    draws = rng.normal(0, 0.2, (2000, 11))
    inside = [abs(row[-1]) <= math.log1p(spread_of(row[:-1].tolist())) for row in draws]
    assert 0.93 < np.mean(inside) < 0.98
    assert spread_of([0.0] * 5) == 0
    assert spread_of([1e9] * 5) == pytest.approx(1000)


def test_a_fit_is_written_and_read_again(tmp_path):
    fronts = [timed(front, 8) for front in FRONTS]
    found = fit_phases(fronts, source="a test", date="2026-04-30", threads=2)
    assert [cost.label for cost in found] == ["forward-2", "backward-2", "update-2"]
    assert found[0].t0_ms.kind == "calibrated"
    assert found[0].spread.runs == len(fronts)
    assert "12 fronts" in found[0].t0_ms.source
    made = Profile(
        schema=SCHEMA,
        board=Board(name="x", title="x"),
        provenance=Provenance(origin="published", date="2026"),
        modes=(Mode(name="default", phases=found),),
    )
    write_profile(made, tmp_path / "x.toml")
    assert load_profile(tmp_path / "x.toml") == made


def test_too_few_fronts_are_refused():
    fronts = [timed(front, batch) for front in FRONTS[: MIN_FRONTS - 1] for batch in (1, 2, 4)]
    with pytest.raises(SettingsError, match="4 different fronts were measured"):
        fit_phases(fronts, source="a test")
    assert fit_memory(fronts, source="a test") is None


@pytest.mark.parametrize("ms", [0.0, -1.0, math.nan, math.inf])
def test_a_time_of_nothing_is_refused(ms):
    fronts = [timed(front, 8) for front in FRONTS]
    fronts[2] = Timed(fronts[2].costs, 8, 1.0, ms, 1.0)
    with pytest.raises(SettingsError, match="backward is not above zero"):
        fit_phases(fronts, source="a test")


def test_models_are_left_out_whole_where_there_are_several():
    alone = [timed(front, 8) for front in FRONTS]
    assert fit_phase(alone, "forward").unseen_spread is None
    slower = [
        Timed(f.costs, 8, 2 * f.forward_ms, f.backward_ms, f.update_ms, model="slow")
        for f in alone[::2]
    ]
    both = [*alone[1::2], *slower]
    fit = fit_phase(both, "forward")
    assert fit.unseen_spread > fit.spread > 0
    assert fit.unseen_spread == pytest.approx(3.6, rel=0.1)
    (forward, *_) = fit_phases(both, source="a test")
    assert forward.unseen_spread.value == pytest.approx(fit.unseen_spread, rel=1e-5)


def test_memory_is_a_process_its_weights_and_its_residuals():
    fronts = []
    for i in range(1, 8):
        front = costs(layer(weights=i * i * 2**20), residual=(10 - i) * 2**16)
        weights, residuals = memory_mib(front, 16)
        assert (weights, residuals) == (i * i, 10 - i)
        fronts.append(Timed(front, 16, 1, 1, 1, peak_mib=80 + 4 * weights + 1.5 * residuals))
    found = fit_memory(fronts, source="a test")
    assert found.base_mib.value == pytest.approx(80)
    assert found.per_weight.value == pytest.approx(4)
    assert found.per_residual.value == pytest.approx(1.5)
    assert found.spread.value < 1e-3

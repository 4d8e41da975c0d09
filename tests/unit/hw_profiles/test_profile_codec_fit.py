"""What a codec costs on any tensor, from those that it was timed on."""

import pytest

from slfac.hw_profiles.codec_fit import TimedTensor, fit_codec
from slfac.wire.errors import SettingsError

pytestmark = pytest.mark.device

SIZES = (10_000, 50_000, 200_000, 1_000_000)


def timed(t0_ms, mbs, *, sizes=SIZES, off=()):
    """Tensors that take a start and a speed; the other way is ten times as fast."""
    factors = [*off, *([1.0] * len(sizes))]
    times = [(t0_ms + 1e-3 * size / mbs) * f for size, f in zip(sizes, factors, strict=False)]
    return [TimedTensor(size, ms, ms / 10) for size, ms in zip(sizes, times, strict=True)]


def fit(tensors):
    return fit_codec(tensors, spec="none", source="a test", date="2026-11-23", threads=2)


def test_start_and_speed_are_found_again():
    found = fit(timed(0.2, 40.0))
    assert found.encode_t0_ms.value == pytest.approx(0.2, rel=1e-4)
    assert found.encode_mbs.value == pytest.approx(40.0, rel=1e-4)
    assert found.decode_t0_ms.value == pytest.approx(0.02, rel=1e-4)
    assert found.decode_mbs.value == pytest.approx(400.0, rel=1e-4)
    assert found.spread.value == pytest.approx(0.0, abs=1e-6)
    assert (found.spec, found.threads) == ("none", 2)
    assert (found.spread.kind, found.spread.runs) == ("calibrated", 4)


def test_what_differs_from_tensor_to_tensor_is_the_spread():
    small, large = (fit(timed(0.2, 40.0, off=(1 + e, 1 - e, 1 + e))) for e in (0.02, 0.1))
    assert 0 < small.spread.value < large.spread.value
    assert large.spread.value > 0.1


def test_a_start_that_is_nothing_is_left_out():
    assert fit(timed(0.0, 40.0)).encode_t0_ms is None


def test_bytes_always_cost_something():
    same = [TimedTensor(size, 1.0, 1.0) for size in SIZES]
    found = fit(same)
    assert found.encode_mbs.value > 0
    assert found.spread.value > 1


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        (timed(0.1, 40.0, sizes=SIZES[:2]), "on 2 sizes"),
        ([*timed(0.1, 40.0, sizes=SIZES[:1])] * 5, "on 1 sizes"),
        ([], "on 0 sizes"),
        ([*timed(0.1, 40.0), TimedTensor(5, 0.0, 1.0)], "not above zero"),
        ([*timed(0.1, 40.0), TimedTensor(5, float("nan"), 1.0)], "not above zero"),
    ],
)
def test_too_little_is_refused(tensors, said):
    with pytest.raises(SettingsError, match=said):
        fit(tensors)

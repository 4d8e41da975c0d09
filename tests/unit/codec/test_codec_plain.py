"""The codecs without a transform."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from slfac.codec import CodecError, decode, make_codec

pytestmark = pytest.mark.device

NONE_DTYPES = ["float32", "float16", "int8", "uint8", "int32", "int64", "bool"]
SHAPES = hnp.array_shapes(min_dims=0, max_dims=5, max_side=4)


@given(st.sampled_from(NONE_DTYPES), SHAPES, st.data())
def test_none_keeps_every_bit(dtype, shape, data):
    elements = {"allow_nan": False, "allow_infinity": False} if "float" in dtype else {}
    x = data.draw(hnp.arrays(dtype, shape, elements=elements))
    payload = make_codec("none").encode(x)
    y = decode(payload, max_values=x.size)
    assert y.dtype == x.dtype
    assert y.shape == x.shape
    assert y.tobytes() == x.tobytes()
    assert y.flags.writeable
    assert y.flags.c_contiguous
    assert len(payload) == 5 + x.ndim + x.nbytes


def test_none_takes_any_strides_and_byte_order():
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    expected = bytes(make_codec("none").encode(x.transpose(2, 0, 1).copy()))
    assert make_codec("none").encode(x.transpose(2, 0, 1)) == expected
    assert make_codec("none").encode(x.transpose(2, 0, 1).astype(">f4")) == expected
    assert make_codec("none").encode(np.asfortranarray(x)) == make_codec("none").encode(x)


@given(
    hnp.arrays(
        np.float32,
        SHAPES,
        elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
    )
)
def test_fp16_stays_within_its_bound_at_every_scale(x):
    payload = make_codec("fp16").encode(x)
    assert len(payload) == 5 + x.ndim + 1 + 2 * x.size
    y = decode(payload, max_values=x.size)
    assert y.dtype == np.float32
    assert y.shape == x.shape
    assert np.isfinite(y).all()
    peak = float(np.abs(x).max())
    # Below 2**-140 float32 itself has no more than a few bits.
    bound = np.abs(x).astype(np.float64) * 2.0**-11 + max(peak * 2.0**-39, 2.0**-149)
    assert (np.abs(x.astype(np.float64) - y) <= bound).all()


def test_fp16_keeps_gradients_that_float16_alone_would_lose():
    x = np.float32([1e-8, -3e-9, 2e-12, 0])
    y = decode(make_codec("fp16").encode(x), max_values=4)
    np.testing.assert_allclose(y, x, rtol=2.0**-11)


def test_fp16_refuses_other_dtypes():
    with pytest.raises(CodecError, match="takes float32, not float64; cast"):
        make_codec("fp16").encode(np.zeros((2, 2)))


@pytest.mark.parametrize("spec", ["none", "fp16"])
def test_empty_arrays_are_refused(spec):
    with pytest.raises(CodecError, match=r"shape \(0, 3\)"):
        make_codec(spec).encode(np.zeros((0, 3), np.float32))


@pytest.mark.parametrize("spec", ["none", "fp16", "slfac"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_counted_and_located(spec, bad):
    x = np.ones((2, 3, 4, 5), np.float32)
    x[1, 0, 2, 3] = x[1, 2, 0, 0] = bad
    with pytest.raises(CodecError, match=r"holds 2 values .* index \(1, 0, 2, 3\)"):
        make_codec(spec).encode(x)

import numpy as np
import pytest

from slfac.data import apply
from slfac.wire.errors import DataError
from slfac.wire.manifest import Preprocessing

pytestmark = pytest.mark.device


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_scales_and_normalises_each_channel(dtype):
    x = np.random.default_rng(0).integers(0, 256, (5, 3, 4, 6)).astype(dtype)
    mean, std = (0.4, 0.5, 0.6), (0.1, 0.2, 0.3)
    out = apply(Preprocessing(scale=1 / 255, mean=mean, std=std), x)
    exact = (x / 255 - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    assert out.dtype == np.float32
    assert out.flags.c_contiguous
    np.testing.assert_allclose(out, exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 3, 4), (2, 3), (2,)])
def test_one_value_serves_all_channels(shape):
    x = np.ones(shape, np.float32)
    out = apply(Preprocessing(scale=3.0, mean=(1.0,), std=(4.0,)), x)
    np.testing.assert_array_equal(out, np.full(shape, 0.5, np.float32))


def test_default_is_the_identity_and_a_copy():
    x = np.random.default_rng(0).normal(size=(3, 2, 4)).astype(np.float32)
    out = apply(Preprocessing(), x)
    np.testing.assert_array_equal(out, x)
    assert not np.shares_memory(out, x)


def test_strided_views_come_out_contiguous():
    x = np.moveaxis(np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3), -1, 1)
    out = apply(Preprocessing(), x[np.array([1, 0])])
    assert out.flags.c_contiguous
    np.testing.assert_array_equal(out, x[::-1])


@pytest.mark.parametrize("field", ["mean", "std"])
def test_wrong_number_of_values_names_the_field(field):
    preprocessing = Preprocessing(**{field: (1.0, 1.0)})
    with pytest.raises(DataError, match=f"preprocessing.{field} has 2 values for 3 channels"):
        apply(preprocessing, np.zeros((1, 3, 2, 2), np.uint8))

"""Bit packing against the definition of the stream, bit by bit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slfac.codec.packing import pack, packed_bytes, unpack

pytestmark = pytest.mark.device


def by_definition(values, width):
    stream = sum(int(value) << (i * width) for i, value in enumerate(values))
    return stream.to_bytes((len(values) * width + 7) // 8, "little")


@given(st.integers(1, 32), st.integers(0, 60), st.randoms(use_true_random=False))
def test_the_stream_is_the_one_the_format_defines(width, count, random):
    values = np.array([random.randrange(2**width) for _ in range(count)], np.uint32)
    packed = pack(values, width)
    assert packed == by_definition(values, width)
    assert len(packed) == packed_bytes(count, width)
    back = unpack(packed, count, width)
    assert back.dtype == (np.uint8 if width <= 8 else np.uint32)
    np.testing.assert_array_equal(back, values)


@pytest.mark.parametrize("width", range(1, 9))
def test_every_value_of_every_code_width_survives(width):
    values = np.tile(np.arange(2**width, dtype=np.uint8), 9)[:-3]
    np.testing.assert_array_equal(unpack(pack(values, width), len(values), width), values)

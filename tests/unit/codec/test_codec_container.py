"""The container: exact bytes, and refusals before anything is allocated."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slfac.codec.container import Header, read_header, write_header
from slfac.wire.errors import CodecError

pytestmark = pytest.mark.device

F4 = np.dtype("<f4")


def test_the_header_of_a_batch_of_maps_has_nine_bytes():
    head = write_header(Header(3, F4, (64, 16, 28, 28)))
    assert head == b"SF\x01\x03\x14\x40\x10\x1c\x1c"


@given(
    ident=st.integers(0, 255),
    dtype=st.sampled_from(["<f4", "<f2", "i1", "u1", "<i4", "<i8", "?"]),
    shape=st.lists(st.integers(1, 2**32 - 1), max_size=8),
    body=st.binary(max_size=9),
)
def test_headers_read_back(ident, dtype, shape, body):
    header = Header(ident, np.dtype(dtype), tuple(shape))
    read, rest = read_header(write_header(header) + body, max_values=header.values)
    assert read == header
    assert rest == body


def test_more_values_than_expected_are_refused():
    head = write_header(Header(1, F4, (2**31, 2**31)))
    with pytest.raises(CodecError, match="4611686018427387904 values; at most 100 are expected"):
        read_header(head, max_values=100)


@pytest.mark.parametrize("dtype", [">f4", "<f8", "<c8", "<u2", "O"])
def test_dtypes_without_a_code_are_refused(dtype):
    with pytest.raises(CodecError, match="array is of dtype"):
        write_header(Header(1, np.dtype(dtype), (1,)))


@pytest.mark.parametrize("shape", [(0,), (3, 0), (1,) * 9, (2**32,)])
def test_shapes_no_reader_takes_are_not_written(shape):
    with pytest.raises(CodecError, match="array has shape"):
        write_header(Header(1, F4, shape))


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"", "payload has 0 bytes"),
        (b"SF\x01\x01", "payload has 4 bytes"),
        (b"XF\x01\x01\x11\x01", "starts with 5846"),
        (b"SF\x02\x01\x11\x01", "container version 2, not 1"),
        (b"SF\x01\x01\x01\x01", "dtype code 0"),
        (b"SF\x01\x01\x81\x01", "dtype code 8"),
        (b"SF\x01\x01\x19" + b"\x01" * 9, "9 dimensions"),
        (b"SF\x01\x01\x12\x01", "ends within its dimensions"),
        (b"SF\x01\x01\x11\x80", "ends within its dimensions"),
        (b"SF\x01\x01\x11\x00", "a dimension is zero"),
        (b"SF\x01\x01\x11\x81\x00", "shortest form"),
        (b"SF\x01\x01\x11\xff\xff\xff\xff\x1f", "above 2"),
        (b"SF\x01\x01\x11\xff\xff\xff\xff\xff\x01", "above 2"),
    ],
)
def test_malformed_headers_are_refused(payload, message):
    with pytest.raises(CodecError, match=message):
        read_header(payload, max_values=2**40)

"""The entropy coder: any codes come back, at about the price of their entropy."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.rd_codes import coded, sequences
from slfac.codec import CodecError
from slfac.codec.rd.stream import MAX_CODE, Coded, read_stream, write_stream
from slfac.codec.sections import SectionReader

pytestmark = pytest.mark.device


def round_trip(rows):
    what, sizes = coded(rows)
    copied = Coded(what.places.copy(), what.codes.copy())
    data = b"".join(write_stream(copied, sizes, signed=True))
    reader = SectionReader(memoryview(data))
    back = read_stream(reader, sizes, signed=True)
    reader.finish()
    assert back.places.tolist() == what.places.tolist()
    assert back.codes.tolist() == what.codes.tolist()
    return data


@settings(max_examples=300)
@given(sequences)
def test_any_codes_come_back(rows):
    round_trip(rows)


@pytest.mark.parametrize(
    "row", [[], [0] * 9, [1] * 9, [-1] * 9, [7] * 9, [MAX_CODE] * 3, [0, 0, -MAX_CODE]], ids=str
)
def test_sequences_of_one_kind_come_back(row):
    round_trip([row])
    round_trip([[], row, [0], row])


def test_nothing_costs_a_few_bytes():
    assert len(round_trip([[0] * 100000] * 40)) <= math.ceil(40 * 17 / 8) + 4


def test_signs_and_all_ones_cost_a_bit_each():
    assert len(round_trip([[1, -1] * 4000])) <= 1000 + 12


def entropy_bits(row):
    """Order-0 entropy of a sequence, as a coder with its true histogram would need."""
    _, counts = np.unique(row, return_counts=True)
    return float(-(counts * np.log2(counts / counts.sum())).sum())


@pytest.mark.parametrize("spread", [0.15, 0.3, 0.6, 1.2, 3, 12])
def test_laplacian_codes_cost_about_their_entropy(spread):
    rng = np.random.default_rng(0)
    values = rng.laplace(scale=spread, size=60000)
    row = (np.sign(values) * np.floor(np.abs(values) + 0.4)).astype(int)
    assert len(round_trip([row.tolist()])) * 8 < 1.06 * entropy_bits(row) + 80


@pytest.mark.parametrize("share", [0.001, 0.02, 0.1, 0.3, 0.5, 0.8, 0.98])
def test_any_share_of_codes_costs_about_its_entropy(share):
    rng = np.random.default_rng(1)
    row = (rng.random(80000) < share).astype(int)
    signs = int(row.sum())
    assert len(round_trip([row.tolist()])) * 8 < 1.06 * entropy_bits(row) + signs + 80


def packed(pairs):
    """Values of some bits each, least significant first."""
    number, at = 0, 0
    for value, width in pairs:
        number |= value << at
        at += width
    return number.to_bytes((at + 7) // 8, "little")


def refused(data, sizes, message):
    with pytest.raises(CodecError, match=message):
        read_stream(SectionReader(memoryview(data)), np.array(sizes), signed=True)


def test_counts_beyond_what_there_is_are_refused():
    refused(packed([(6, 3)]), [5], "numbers of non-zero codes exceed what there is")
    counts = packed([(2, 3)])
    refused(counts + packed([(3, 2)]), [5], "numbers of large codes exceed what there is")


def test_codes_beyond_the_largest_are_refused():
    # One code of one, large, of parameter 24; quotient 1 and no low bits: 2**24, plus 2.
    data = packed([(1, 1)]) + packed([(1, 1)]) + packed([(24, 5)])
    data += b"\x01\0\0\0\x02" + bytes(3) + b"\0"
    refused(data, [1], "payload: a code is 16777218")


@pytest.mark.parametrize("value", [MAX_CODE - 1, MAX_CODE + 1, 2**30])
def test_codes_around_the_largest(value):
    beyond = value - 2
    data = packed([(1, 1)]) + packed([(1, 1)]) + packed([(31, 5)])
    data += b"\x01\0\0\0\x01" + packed([(beyond, 31)]) + b"\x01"
    if value > MAX_CODE:
        refused(data, [1], f"payload: a code is {value}")
    else:
        got = read_stream(SectionReader(memoryview(data)), np.array([1]), signed=True)
        assert got.codes.tolist() == [-value]


def test_gaps_beyond_their_context_are_refused():
    # One of four, at the fifth place: parameter 1, quotient 2, low bit 0.
    data = packed([(1, 3)]) + packed([(0, 1)]) + b"\x01\0\0\0\x04" + b"\0" + b"\0"
    refused(data, [4], "non-zero codes lie beyond their context")
    # Two of four at places 0 and 1; one of them large, at the third place.
    data = packed([(2, 3)]) + packed([(1, 2)]) + packed([(0, 5)]) + b"\x01\0\0\0\x33\0"
    refused(data, [4], "large codes lie beyond their context")


@pytest.mark.parametrize(
    ("length", "message"),
    [
        (0, "numbers of non-zero codes take 1 bytes"),
        (1, "numbers of large codes take 1 bytes"),
        (2, "parameters take 1 bytes"),
        (3, "length of codes take 4 bytes"),
        (8, "payload: codes take 1 bytes"),
        (9, "signs take 1 bytes"),
    ],
)
def test_a_stream_that_ends_early_is_refused(length, message):
    data = round_trip([[1, -4]])
    refused(data[:length], [2], message)


@given(st.binary(max_size=60), st.lists(st.integers(0, 30), min_size=1, max_size=6), st.booleans())
def test_any_bytes_are_codes_or_refused(data, sizes, signed):
    try:
        reader = SectionReader(memoryview(data))
        places, codes = read_stream(reader, np.array(sizes, np.int64), signed=signed)
    except CodecError:
        return
    assert len(places) == len(codes) <= sum(sizes)
    assert (np.diff(places) > 0).all()
    assert (places < sum(sizes)).all()
    assert (codes != 0).all()
    assert (np.abs(codes) <= MAX_CODE).all()
    assert signed or (codes > 0).all()


@given(sequences)
def test_codes_without_signs_take_a_bit_less_each(rows):
    rows = [[abs(code) for code in row] for row in rows]
    what, sizes = coded(rows)
    with_signs = b"".join(write_stream(what, sizes, signed=True))
    without = b"".join(write_stream(what, sizes, signed=False))
    assert with_signs == without + bytes(math.ceil(len(what.codes) / 8))
    back = read_stream(SectionReader(memoryview(without)), sizes, signed=False)
    assert back.codes.tolist() == what.codes.tolist()

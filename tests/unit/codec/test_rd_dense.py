"""The dense entropy coder and its parts: what they code comes back, at its price."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.rd_codes import coded, sequences
from slfac.codec import CodecError
from slfac.codec.rd.dense import read_dense, write_dense
from slfac.codec.rd.lanes import LaneReader, LaneWriter
from slfac.codec.rd.odds import (
    LEVELS,
    MAX_HEIGHT,
    code_levels,
    first_chances,
    heights_of,
    levels_of,
    shares_of,
    some_chances,
)
from slfac.codec.rd.stream import MAX_CODE, Coded, write_stream
from slfac.codec.sections import SectionReader

pytestmark = pytest.mark.device


def written(rows, *, signed=True):
    what, sizes = coded(rows)
    return b"".join(write_dense(what, sizes, signed=signed))


def read(data, sizes, *, signed=True):
    return read_dense(SectionReader(memoryview(data)), np.array(sizes, np.int64), signed=signed)


def assert_comes_back(rows, *, signed=True):
    what, sizes = coded(rows)
    back = read(written(rows, signed=signed), sizes, signed=signed)
    assert back.places.tolist() == what.places.tolist()
    assert back.codes.tolist() == what.codes.tolist()
    assert back.codes.dtype == np.int32


@given(sequences)
def test_any_codes_come_back(rows):
    assert_comes_back(rows)


@given(sequences)
def test_codes_without_signs_come_back(rows):
    assert_comes_back([[abs(code) for code in row] for row in rows], signed=False)


@given(st.integers(0, 2**32), st.floats(0, 1), st.integers(1, 300))
@settings(max_examples=50)
def test_contexts_of_any_density_come_back(seed, density, size):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(0, size, 12)
    rows = [
        np.where(rng.random(n) < density**i, rng.integers(-3, 4, n), 0).tolist()
        for i, n in enumerate(sizes)
    ]
    assert_comes_back(rows)


@pytest.mark.parametrize("density", [0.001, 0.003, 0.02, 0.1, 0.4, 0.6, 0.9])
def test_a_subset_takes_its_entropy(density):
    rng = np.random.default_rng(0)
    size = 200_000
    row = (rng.random(size) < density).astype(int)
    count = int(row.sum())
    share = count / size
    entropy = -count * math.log2(share) - (size - count) * math.log2(1 - share)
    spent = 8 * len(written([row.tolist()], signed=False))
    # A lane that is given no signs begins with 16 bits for nothing.
    assert spent <= 1.006 * entropy + 20 * (count // 384 + 1) + 60
    assert_comes_back([row.tolist()], signed=False)


@pytest.mark.parametrize("mean", [0.2, 1, 5, 40, 1000])
def test_magnitudes_take_about_their_entropy(mean):
    rng = np.random.default_rng(0)
    codes = rng.geometric(1 / (1 + mean), 30_000) * rng.choice((-1, 1), 30_000)
    share = 1 / (1 + mean)
    entropy = (-math.log2(share) - mean * math.log2(1 - share) + 1) * len(codes)
    rows = [codes.tolist()]
    # No context is so dense that a code that is not zero is for nothing.
    assert 8 * len(written(rows)) <= 1.025 * entropy + 0.11 * len(codes)
    assert_comes_back(rows)


def test_what_repeats_takes_little():
    # One value of one sign in a context, as the background of images gives it.
    rows = [(13 * np.random.default_rng(0).integers(0, 2, 40_000)).tolist()]
    assert len(written(rows)) < 0.5 * len(b"".join(write_stream(*coded(rows), signed=True)))


passes = st.lists(
    st.lists(st.tuples(st.integers(1, 2**15 - 1), st.booleans()), max_size=30), max_size=8
)


@given(passes, st.integers(1, 9), st.integers(0, 2**32))
def test_lanes_give_back_decisions_and_seeds(given_passes, lanes, seed):
    seeds = np.random.default_rng(seed).integers(0, 2**16, lanes, np.uint16)
    arrays = [
        (np.array([f for f, _ in each], np.uint16), np.array([bit for _, bit in each], np.bool_))
        for each in given_passes
    ]
    writer = LaneWriter()
    for chances, bits in arrays:
        assert writer.code(chances, bits) is bits
    data = b"".join(writer.finish(seeds)) + b"rest"
    reader = LaneReader(SectionReader(memoryview(data)), lanes)
    for chances, bits in arrays:
        assert reader.code(chances, None).tolist() == bits.tolist()
    back, rest = reader.finish()
    assert back.tolist() == seeds.tolist()
    assert bytes(rest) == b"rest"


@pytest.mark.parametrize("share", [0.01, 0.3, 0.5, 0.9])
def test_decisions_take_their_entropy(share):
    rng = np.random.default_rng(0)
    lanes, count = 8, 100_000
    writer = LaneWriter()
    writer.code(np.full(count, round(share * 2**15), np.uint16), rng.random(count) < share)
    spent = 8 * len(b"".join(writer.finish(np.zeros(lanes, np.uint16)))) - 16 * lanes
    entropy = -share * math.log2(share) - (1 - share) * math.log2(1 - share)
    assert spent == pytest.approx(entropy * count, rel=0.01, abs=6 * lanes)


def test_levels_are_quarter_octaves_of_odds():
    shares = shares_of(np.arange(1, LEVELS)) / 2**16
    octaves = np.log2(shares / (1 - shares))
    np.testing.assert_allclose(octaves, (np.arange(1, LEVELS) - 48) / 4, atol=0.05)
    assert shares_of(np.zeros(1, np.int64)).tolist() == [0]


def test_chances_are_those_of_independent_members():
    levels = np.arange(1, LEVELS)
    heights = heights_of(levels)
    assert heights.max() == MAX_HEIGHT
    share = 1 / (1 + 2.0 ** (-(levels - 48) / 4))
    for height in range(MAX_HEIGHT):
        mine = heights > height
        none = (1 - share[mine]) ** 2.0**height
        np.testing.assert_allclose(some_chances(levels[mine], height) / 2**15, 1 - none, atol=1e-4)
        np.testing.assert_allclose(
            first_chances(levels[mine], height) / 2**15, 1 / (1 + none), atol=1e-4
        )
    # Runs are as likely to hold none as to hold some.
    chances = some_chances(levels, heights)[share < 0.5] / 2**15
    assert chances.min() > 0.28
    assert chances.max() <= 0.5


def test_the_levels_chosen_are_the_cheapest():
    counts, sizes = np.array([0, 3, 0, 400]), np.array([90, 200, 0, 800])
    levels = levels_of(counts, sizes)
    assert levels[2] == 0
    p = shares_of(np.arange(LEVELS)) / 2**16

    def bits(chosen):
        total, before = 0.0, 0
        for level, count, size in zip(chosen, counts.tolist(), sizes.tolist(), strict=True):
            if not size:
                continue
            rise = level - before - 2
            total += 2 + ((2 * rise if rise >= 0 else -2 * rise - 1) >> 1)
            before = level
            if level:
                total -= count * np.log2(p[level]) + (size - count) * np.log2(1 - p[level])
        return total

    others = [
        (first, second, 0, last)
        for first in range(0, LEVELS, 2)
        for second in range(1, LEVELS, 2)
        for last in range(30, 60)
    ]
    assert bits(levels) <= min(map(bits, others)) + 0.1


@given(st.lists(st.integers(0, LEVELS - 1), max_size=40))
def test_any_levels_come_back(levels):
    used = np.ones(len(levels), np.bool_)
    writer = LaneWriter()
    code_levels(writer, used, np.array(levels, np.int64))
    data = b"".join(writer.finish(np.zeros(1, np.uint16)))
    reader = LaneReader(SectionReader(memoryview(data)), 1)
    assert code_levels(reader, used, None).tolist() == levels


SOUND = written([[1, 0, -4, 2] * 30, [0, 0, 0, 1] * 30])


def test_damage_is_refused_by_name():
    sizes = [120, 120]
    assert len(read(SOUND, sizes).places) == 120
    for data, message in (
        (b"", "number of lanes take 2 bytes"),
        (b"\0\0" + SOUND[2:], "0 lanes of"),
        (b"\0\0", "0 lanes of 0 bytes"),
        (SOUND[:2], "heights take 1 bytes"),
        (SOUND[:3], "states take"),
        (SOUND[:12], "more decisions than words"),
        (SOUND[:-1], "signs and last bits take"),
        (SOUND + b"\0", "1 bytes trail its last section"),
        (SOUND[:2] + bytes(4100), "1 lanes of 4100 bytes"),
    ):
        with pytest.raises(CodecError, match=message):
            read(data, sizes)


def lanes_of(decisions, seeds):
    """A stream of one pass after another, ``(chances, bits)``."""
    writer = LaneWriter()
    for chance, bits in decisions:
        writer.code(np.full(len(bits), chance, np.uint16), np.array(bits, np.bool_))
    head = len(seeds).to_bytes(2, "little")
    return head + b"".join(writer.finish(np.array(seeds, np.uint16)))


def test_levels_out_of_bounds_are_refused():
    even = 1 << 14
    # A level of -1, one of 64, and more in unary than any level needs.
    minus = [(even, [True]), (even, [True]), (even, [False]), (even, [True])]
    plus = [*[(even, [True])] * 62, (even, [False]), (even, [False])]
    for decisions in (minus, plus, [(even, [True])] * 80):
        with pytest.raises(CodecError, match="a level is not from 0 to 63"):
            read(lanes_of(decisions, [0]), [5])


def test_states_and_seeds_that_are_not_needed_are_refused():
    even = 1 << 14
    # A level of 0: a rise of two less than usual.
    zero = [(even, [True]), (even, [False]), (even, [True])]
    data = lanes_of(zero, [0])
    assert not len(read(data, [5]).places)
    with pytest.raises(CodecError, match="bits of its states are left over"):
        read(lanes_of(zero, [4]), [5])
    with pytest.raises(CodecError, match="do not end where they began"):
        read(lanes_of([*zero, (even, [True])], [0]), [5])


@given(st.binary(max_size=80), st.lists(st.integers(0, 60), min_size=1, max_size=6), st.booleans())
@settings(max_examples=300)
def test_any_bytes_are_codes_or_refused(data, sizes, signed):
    if not sum(sizes):
        return
    try:
        places, codes = read(b"\1\0" + data, sizes, signed=signed)
    except CodecError:
        return
    assert len(places) == len(codes) <= sum(sizes)
    assert (np.diff(places) > 0).all()
    assert (places < sum(sizes)).all()
    assert (codes != 0).all()
    assert (np.abs(codes) <= MAX_CODE).all()
    assert signed or (codes > 0).all()


@given(st.integers(0, 8 * len(SOUND) - 1))
def test_a_flipped_bit_gives_other_codes_or_is_refused(bit):
    damaged = bytearray(SOUND)
    damaged[bit // 8] ^= 1 << bit % 8
    try:
        back = read(bytes(damaged), [120, 120])
    except CodecError:
        return
    assert (np.abs(back.codes) <= MAX_CODE).all()


def test_a_long_payload_of_few_lanes_is_refused_before_it_is_read():
    with pytest.raises(CodecError, match="1 lanes of 100000 bytes"):
        read(b"\1\0" + bytes(100_000), [2**24])


def level_passes(level):
    """The passes that code one level."""
    rise = level - 2
    last = [(1 << 14, [False]), (1 << 14, [rise < 0])]
    return [*[(1 << 14, [True])] * (rise if rise >= 0 else -rise - 1), *last]


def test_a_payload_of_more_turns_than_an_encoder_needs_is_refused():
    # Nearly all are chosen, and nearly none of them is large: a fraction of a bit each.
    dense, sparse = (int(some_chances(np.array([level]), 0)[0]) for level in (62, 1))
    for size, refused in ((2**15 - 32, False), (2**15 - 31, True)):
        every = np.ones(size, np.bool_)
        data = lanes_of(
            [*level_passes(62), (dense, every), *level_passes(1), (sparse, ~every)], [0]
        )
        if refused:
            with pytest.raises(CodecError, match="1 lanes take over 65536 turns"):
                read(data, [size], signed=False)
        else:
            assert len(read(data, [size], signed=False).places) == size


def test_few_codes_in_many_runs_get_lanes_enough():
    # Of each context one of 40000 is chosen: next to no codes, and runs by the million.
    sizes = np.full(50, 40_000, np.int64)
    places = np.arange(50) * 40_000 + 7
    what = Coded(places, np.ones(50, np.int32))
    dense = b"".join(write_dense(what, sizes, signed=False))
    assert read(dense, sizes, signed=False).places.tolist() == places.tolist()
    sizes = np.full(300, 4_000, np.int64)
    places = np.arange(0, 1_200_000, 12)
    what = Coded(places, np.ones(len(places), np.int32))
    dense = b"".join(write_dense(what, sizes, signed=False))
    assert int.from_bytes(dense[:2], "little") >= 200_000 // 2**15
    assert read(dense, sizes, signed=False).places.tolist() == places.tolist()

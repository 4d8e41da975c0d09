"""The denser of two entropy coders: close to the entropy of the contexts, and slower.

The same three questions a context as in :mod:`slfac.codec.rd.stream`, but each a decision whose
chance both sides know, coded at its price in fractions of a bit.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from slfac.codec.container import DAMAGED
from slfac.codec.rd.lanes import MAX_TURNS, SEED_BITS, Bits, Coder, LaneReader, LaneWriter, Words
from slfac.codec.rd.numbers import Heads, code_numbers
from slfac.codec.rd.odds import code_levels, levels_of, shares_of, some_chances
from slfac.codec.rd.sets import bounds_of
from slfac.codec.rd.stream import Coded
from slfac.codec.rd.tree import code_members
from slfac.codec.rd.varied import bits_of, from_bits
from slfac.codec.sections import SectionReader
from slfac.codec.unary import place_type
from slfac.wire.errors import CodecError

Integers = npt.NDArray[np.signedinteger]

# A lane costs four bits or so, a code about seven; more lanes are faster.
_CODES_A_LANE = 384
_MAX_LANES = 2**16 - 1
# With fewer lanes than one for so much, reading would take its time.
_MAX_BYTES_A_LANE = 4096


def write_dense(coded: Coded, sizes: Integers, *, signed: bool) -> list[bytes]:
    """Code what is not zero.

    Args:
        coded: The codes.
        sizes: Number of coefficients of each context.
        signed: Whether codes may be negative.

    Returns:
        The sections, to be joined.
    """
    writer = LaneWriter()
    large = np.abs(coded.codes) > 1
    _, _, heads = _code(writer, sizes, coded, signed=signed)
    # The last turn of each pass may be short; there are far fewer passes than half of all turns.
    least = writer.decisions // (MAX_TURNS // 2) + 1
    lanes = min(max(len(coded.places) // _CODES_A_LANE, least), _MAX_LANES)
    signs = coded.codes[~large] < 0 if signed else np.zeros(0, np.bool_)
    raw = np.concatenate((signs, bits_of(np.abs(coded.codes[large]) - 1, heads.widths)))
    first = np.zeros(SEED_BITS * lanes, np.bool_)
    first[: len(raw)] = raw[: len(first)]
    seeds = np.packbits(first, bitorder="little").view("<u2")
    return [
        lanes.to_bytes(2, "little"),
        *writer.finish(seeds),
        np.packbits(raw[len(first) :], bitorder="little").tobytes(),
    ]


def read_dense(reader: SectionReader, sizes: Integers, *, signed: bool) -> Coded:
    """Read what :func:`write_dense` wrote, to the body's end.

    Args:
        reader: Where it stands.
        sizes: Number of coefficients of each context.
        signed: Whether codes may be negative.

    Returns:
        The codes.

    Raises:
        CodecError: The sections contradict one another.
    """
    lanes = int.from_bytes(reader.take(2, "number of lanes"), "little")
    if not 0 < lanes * _MAX_BYTES_A_LANE >= reader.left_bytes:
        raise CodecError(f"payload: {lanes} lanes of {reader.left_bytes} bytes", DAMAGED)
    coder = LaneReader(reader, lanes)
    places, large, heads = _code(coder, sizes, None, signed=signed)
    seeds, rest = coder.finish()
    ones = signed * int(np.count_nonzero(~large))
    raw = _read_raw(seeds, rest, ones + int(heads.widths.sum()))
    codes = np.ones(len(places), np.int32)
    magnitudes = (heads.values << heads.widths) + from_bits(raw[ones:], heads.widths) + 1
    codes[large] = np.where(heads.negative, -magnitudes, magnitudes)
    if signed:
        codes[~large] -= 2 * raw[:ones].astype(np.int32)
    return Coded(places, codes)


def _read_raw(seeds: Words, rest: memoryview, count: int) -> npt.NDArray[np.uint8]:
    """The bits that are no decisions: first those in the seeds, then what follows the words."""
    first = np.unpackbits(seeds.astype("<u2").view(np.uint8), bitorder="little")
    if first[count:].any():
        raise CodecError("payload: bits of its states are left over", DAMAGED)
    tail = SectionReader(rest)
    after = tail.packed(max(count - len(first), 0), 1, "signs and last bits")
    tail.finish()
    return np.concatenate((first[:count], after))


def _code(
    coder: Coder, sizes: Integers, wanted: Coded | None, *, signed: bool
) -> tuple[Integers, Bits, Heads]:
    """Places of the codes, which of them are large, and what the latter are beyond one."""
    density = None
    if wanted is not None:
        density = levels_of(np.diff(np.searchsorted(wanted.places, bounds_of(sizes))), sizes)
    density = code_levels(coder, sizes > 0, density)
    places = code_members(coder, sizes, density, None if wanted is None else wanted.places)
    counts = np.diff(np.searchsorted(places, bounds_of(sizes)))
    context = np.repeat(np.arange(len(sizes)), counts)
    levels = flags = numbers = None
    if wanted is not None:
        flags = np.abs(wanted.codes) > 1
        numbers = wanted.codes[flags].astype(np.int64)
        numbers -= np.sign(numbers)
        levels = levels_of(np.bincount(context[flags], minlength=len(sizes)), counts)
    levels = code_levels(coder, counts > 0, levels)
    large = _code_flags(coder, levels[context], flags)
    heads = code_numbers(coder, context[large], shares_of(levels), numbers, signed=signed)
    return places.astype(place_type(int(sizes.sum())), copy=False), large, heads


def _code_flags(coder: Coder, levels: Integers, wanted: Bits | None) -> Bits:
    flags = np.zeros(len(levels), np.bool_)
    open_ones = np.flatnonzero(levels)
    chances = some_chances(levels[open_ones], 0)
    flags[open_ones] = coder.code(chances, None if wanted is None else wanted[open_ones])
    return flags

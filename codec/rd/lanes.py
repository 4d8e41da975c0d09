"""Binary decisions of known chances, coded by many small coders side by side.

Asymmetric numeral systems: a coder is one number, its *state*, and coding a decision of chance
``f / 2**15`` multiplies it by about ``2**15 / f``. Where it would leave 32 bits, its 16 lower
ones go to a stream that all coders share. The n-th decision of a pass belongs to coder
``n % lanes``, so that all lanes work at once. Decoding runs backwards what encoding did, so an
encoder must know all decisions before it begins.

A state begins with 16 bits that would be sent as they are anyway, its *seed*, which decoding
gives back in the end; so a lane costs only a few bits.

Source: Duda, "Asymmetric numeral systems", arXiv 1311.2540; interleaved as by Giesen, "Interleaved
entropy coders", arXiv 1402.3392.
"""

from __future__ import annotations

from typing import Protocol, cast

import numpy as np
import numpy.typing as npt

from slfac.codec.container import DAMAGED
from slfac.codec.packing import pack
from slfac.codec.rd.rice import bit_lengths
from slfac.codec.rd.varied import pack_varied, unpack_varied, varied_bytes
from slfac.codec.sections import SectionReader
from slfac.wire.errors import CodecError

Bits = npt.NDArray[np.bool_]
Chances = npt.NDArray[np.uint16]
Words = npt.NDArray[np.uint16]

CHANCE_BITS = 15
CERTAIN = 1 << CHANCE_BITS
SEED_BITS = 16
# A turn is one decision of each lane. So many hold any stream of lanes enough, and bound the time
# that a hostile one costs.
MAX_TURNS = 1 << 16
_HEIGHT_BITS = 4


class Coder(Protocol):
    """Codes passes of decisions: writes those that it is given, or reads them."""

    def code(self, chances: Chances, wanted: Bits | None) -> Bits:
        """Code one pass.

        Args:
            chances: ``(count,)``: how likely each decision is to be true, in 2**-15, from 1
                to 2**15 - 1.
            wanted: The decisions; None to read them.

        Returns:
            The decisions.
        """


class LaneWriter:
    """Collects decisions and codes them in the end."""

    def __init__(self) -> None:
        self._passes: list[tuple[Chances, Bits]] = []

    def code(self, chances: Chances, wanted: Bits | None) -> Bits:
        """Take note of one pass; see :meth:`Coder.code`."""
        # Who writes knows what.
        bits = cast("Bits", wanted)
        self._passes.append((chances, bits))
        return bits

    @property
    def decisions(self) -> int:
        """How many there are in all passes."""
        return sum(len(bits) for _, bits in self._passes)

    def finish(self, seeds: Words) -> list[bytes]:
        """Code all passes.

        Args:
            seeds: ``(lanes,)``: how many coders work side by side, and what they begin with.

        Returns:
            The sections: the lanes' states, and the words that they share.
        """
        states = seeds.astype(np.uint32) | np.uint32(1 << SEED_BITS)
        lanes = len(states)
        words = [np.zeros(0, np.uint16)]
        for chances, bits in reversed(self._passes):
            shares = np.where(bits, chances, CERTAIN - chances).astype(np.uint32)
            starts = np.where(bits, np.uint32(0), chances)
            for begin in range((len(bits) - 1) // lanes * lanes, -1, -lanes):
                share = shares[begin : begin + lanes]
                state = states[: len(share)]
                full = np.flatnonzero(state >= share << np.uint32(32 - CHANCE_BITS))
                words.append(state[full].astype(np.uint16))
                state[full] >>= np.uint32(16)
                state += state // share * (np.uint32(CERTAIN) - share)
                state += starts[begin : begin + lanes]
        heights = bit_lengths(states) - 1
        return [
            pack(heights - SEED_BITS, _HEIGHT_BITS),
            pack_varied(states - (np.int64(1) << heights), heights),
            np.concatenate(words[::-1]).astype("<u2", copy=False).tobytes(),
        ]


class LaneReader:
    """Reads decisions pass by pass.

    Args:
        reader: At the first section; what no lane takes of the rest is left over.
        lanes: How many coders worked side by side.
    """

    def __init__(self, reader: SectionReader, lanes: int) -> None:
        heights = reader.packed(lanes, _HEIGHT_BITS, "heights").astype(np.int64) + SEED_BITS
        low = unpack_varied(reader.take(varied_bytes(heights), "states"), heights)
        self._states = (low + (np.int64(1) << heights)).astype(np.uint32)
        self._rest = reader.take(reader.left_bytes, "words")
        self._words = np.frombuffer(self._rest[: len(self._rest) // 2 * 2], "<u2")
        self._used = 0
        self._turns = 0

    def code(self, chances: Chances, wanted: Bits | None) -> Bits:  # noqa: ARG002
        """Read one pass; see :meth:`Coder.code`.

        Raises:
            CodecError: There are not enough words, or not enough lanes for the decisions.
        """
        lanes = len(self._states)
        self._turns += -(-len(chances) // lanes)
        if self._turns > MAX_TURNS:
            raise CodecError(f"payload: {lanes} lanes take over {MAX_TURNS} turns", DAMAGED)
        bits = np.empty(len(chances), np.bool_)
        for begin in range(0, len(chances), lanes):
            chance = chances[begin : begin + lanes].astype(np.uint32)
            state = self._states[: len(chance)]
            low = state & np.uint32(CERTAIN - 1)
            true = low < chance
            bits[begin : begin + lanes] = true
            share = np.where(true, chance, np.uint32(CERTAIN) - chance)
            low -= np.where(true, np.uint32(0), chance)
            state >>= np.uint32(CHANCE_BITS)
            state *= share
            state += low
            empty = np.flatnonzero(state < 1 << 16)
            state[empty] = state[empty] << np.uint32(16) | self._take(len(empty))
        return bits

    def finish(self) -> tuple[Words, memoryview]:
        """What the states end with.

        Returns:
            ``(lanes,)`` seeds, and the bytes behind the words.

        Raises:
            CodecError: No encoder began with such states.
        """
        if np.any(self._states >> np.uint32(SEED_BITS) != 1):
            raise CodecError("payload: its decisions do not end where they began", DAMAGED)
        return self._states.astype(np.uint16), self._rest[2 * self._used :]

    def _take(self, count: int) -> Words:
        words = self._words[self._used : self._used + count]
        if len(words) < count:
            raise CodecError("payload: it has more decisions than words", DAMAGED)
        self._used += count
        return words

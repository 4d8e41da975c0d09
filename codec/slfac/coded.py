"""The last sections of every codec of quantised components: codes, packed by width.

``docs/codec-format.md`` is normative. The size of every section follows from the widths, and is
compared with the buffer before the section is allocated.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from slfac.codec.base import Buffer
from slfac.codec.maps.blocks import map_blocks
from slfac.codec.packing import pack, packed_bytes, unpack
from slfac.codec.sections import SectionReader
from slfac.codec.slfac.components import Components
from slfac.codec.slfac.fqc import MAX_WIDTH
from slfac.codec.slfac.quantise import Codes, Levels


def read_codes(reader: SectionReader, parts: Components, levels: Levels) -> dict[int, memoryview]:
    """Take the packed codes, which end the body.

    Args:
        reader: At the codes.
        parts: The segments.
        levels: Their levels.

    Returns:
        By width, the packed codes of all segments of that width; none is empty.

    Raises:
        CodecError: They do not fill the rest of the body exactly.
    """
    sections = {
        width: reader.take(packed_bytes(count, width), f"codes of width {width}")
        for width, count in code_counts(parts, levels).items()
    }
    reader.finish()
    return sections


def pack_codes(codes: Codes, parts: Components, levels: Levels) -> dict[int, Buffer]:
    """Pack codes, those of each width together.

    Args:
        codes: ``(maps, size)`` uint8.
        parts: The segments.
        levels: Their levels.

    Returns:
        By width, in rising order; none is empty.
    """
    stream = _by_width(codes, parts, levels)
    packed: dict[int, Buffer] = {}
    start = 0
    for width, count in code_counts(parts, levels).items():
        packed[width] = pack(stream[start : start + count], width)
        start += count
    return packed


def unpack_codes(sections: Mapping[int, Buffer], parts: Components, levels: Levels) -> Codes:
    """Undo :func:`pack_codes`.

    Args:
        sections: By width, as long as :func:`code_counts` asks.
        parts: The segments.
        levels: Their levels.

    Returns:
        ``(maps, size)`` uint8; 0 in segments without codes.
    """
    counts = code_counts(parts, levels)
    codes = np.zeros((parts.maps, parts.size), np.uint8)
    width_of = parts.expand(levels.widths, slice(0, parts.maps))
    for width, section in sections.items():
        codes[width_of == width] = unpack(section, counts[width], width)
    return codes


def code_counts(parts: Components, levels: Levels) -> dict[int, int]:
    """How many codes of each width there are.

    Args:
        parts: The segments.
        levels: Their levels.

    Returns:
        Counts by width, in rising order; widths without codes are left out.
    """
    totals = np.bincount(levels.widths, weights=parts.lengths, minlength=MAX_WIDTH + 1)
    return {width: int(totals[width]) for width in range(1, MAX_WIDTH + 1) if totals[width]}


def _by_width(codes: Codes, parts: Components, levels: Levels) -> Codes:
    """The codes of all segments that have some, in order of their widths.

    A map is looked at once for each of its segments, not once for each width there is.
    """
    flat = int(np.count_nonzero(levels.widths == 0))
    order = np.argsort(levels.widths, kind="stable")[flat:]
    if not order.size:
        return np.zeros(0, np.uint8)
    owner = np.repeat(np.arange(parts.maps), np.diff(parts.first))[order]
    is_low = (parts.first[owner] == order)[:, None]
    # The last place, not the end behind it: bytes are enough for maps of 256 values.
    places = np.arange(parts.size, dtype=np.min_scalar_type(parts.size - 1))
    last = (parts.lengths[parts.first[owner]] - 1).astype(places.dtype)[:, None]
    pieces = []
    for block in map_blocks(len(order), max(1, parts.size // 2)):
        mine = (places <= last[block]) == is_low[block]
        pieces.append(codes.take(owner[block], axis=0)[mine])
    return np.concatenate(pieces)

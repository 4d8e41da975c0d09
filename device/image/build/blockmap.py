"""Writes block maps in bmaptool's format, version 2.0."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

_BLOCK_BYTES = 4096
_PLACE = "0" * 64


def block_map(image: Path, used: Sequence[tuple[int, int]]) -> bytes:
    """The block map of an image.

    Args:
        image: The image, not compressed.
        used: Beginnings and ends in bytes of what it holds, sorted and disjoint.

    Returns:
        An XML document.
    """
    size = image.stat().st_size
    blocks = list(_blocks(used))
    mapped = sum(last - first + 1 for first, last in blocks)
    lines = [
        '<?xml version="1.0" ?>',
        '<bmap version="2.0">',
        f"<ImageSize> {size} </ImageSize>",
        f"<BlockSize> {_BLOCK_BYTES} </BlockSize>",
        f"<BlocksCount> {-(-size // _BLOCK_BYTES)} </BlocksCount>",
        f"<MappedBlocksCount> {mapped} </MappedBlocksCount>",
        "<ChecksumType> sha256 </ChecksumType>",
        f"<BmapFileChecksum> {_PLACE} </BmapFileChecksum>",
        "<BlockMap>",
        *(_range(image, first, last) for first, last in blocks),
        "</BlockMap>",
        "</bmap>",
    ]
    text = "\n".join(lines) + "\n"
    # The file's own checksum is taken with zeros in its place.
    return text.replace(_PLACE, hashlib.sha256(text.encode()).hexdigest(), 1).encode()


def _blocks(used: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """First and last block of each range; ranges that touch become one."""
    held: tuple[int, int] | None = None
    for begin, end in used:
        first, last = begin // _BLOCK_BYTES, -(-end // _BLOCK_BYTES) - 1
        if held is not None and first <= held[1] + 1:
            held = held[0], max(held[1], last)
            continue
        if held is not None:
            yield held
        held = first, last
    if held is not None:
        yield held


def _range(image: Path, first: int, last: int) -> str:
    digest = hashlib.sha256()
    with image.open("rb") as stream:
        stream.seek(first * _BLOCK_BYTES)
        left = (last - first + 1) * _BLOCK_BYTES
        while left and (piece := stream.read(min(left, 1 << 20))):
            digest.update(piece)
            left -= len(piece)
    span = f"{first}-{last}" if first != last else f"{first}"
    return f'<Range chksum="{digest.hexdigest()}"> {span} </Range>'

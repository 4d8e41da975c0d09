"""Writes an image so that a drive starts a board only if all of it is there.

The beginning, with the partition table, is erased first and written last, after everything else
has been read back from the medium.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from typing import Literal

from slfac.device.image.flash.source import CHUNK_BYTES, Image, read_pieces
from slfac.device.image.flash.target import Target
from slfac.wire.errors import DriveError, ImageError

Stage = Literal["checking", "writing", "comparing"]
#: Told the stage, and how many bytes of how many are done.
Progress = Callable[[Stage, int, int], None]
# What the kernel holds back is written in one go at the end: progress would lie until then.
_SETTLE_PIECES = 16
# GPT keeps a copy of its table in the last 33 sectors.
_TAIL_BYTES = 1 << 20
_SECTOR_BYTES = 512
_AGAIN = "write it again; if that fails too, the drive or its reader is broken"


def write_image(image: Image, target: Target, progress: Progress) -> None:
    """Write an image and read it back.

    Args:
        image: The image, as it was examined.
        target: Where.
        progress: Told how far it has come.

    Raises:
        ImageError: The image is no longer what it was.
        DriveError: The target failed, or gives back what was not written. It does not start a
            board then.
    """
    if target.size_bytes < image.size_bytes:
        raise DriveError(
            f"{target.path} holds {target.size_bytes} bytes, the image has {image.size_bytes}",
            "choose a larger one",
        )
    body = image.pieces()[1:]
    target.zero(0, CHUNK_BYTES)
    target.zero(max(image.size_bytes, target.size_bytes - _TAIL_BYTES), target.size_bytes)
    target.settle()
    first = _write_body(image, target, body, progress)
    target.settle()
    target.forget()
    total, done = _size(image, body), 0
    for number in body:
        done += _compare(image, target, number)
        progress("comparing", done, total)
    _write_head(image, target, first)
    target.reread()


def _write_head(image: Image, target: Target, piece: bytes) -> None:
    try:
        target.write(_SECTOR_BYTES, memoryview(piece)[_SECTOR_BYTES:])
        target.settle()
        target.write(0, memoryview(piece)[:_SECTOR_BYTES])
        target.settle()
        target.forget()
        _compare(image, target, 0)
    except BaseException:
        # A drive that is gone cannot be erased any more, and says so again.
        with contextlib.suppress(DriveError):
            target.zero(0, CHUNK_BYTES)
            target.settle()
        raise


def _write_body(image: Image, target: Target, body: list[int], progress: Progress) -> bytes:
    """Write all pieces but the first, which is handed back."""
    wanted, total, done, first = set(body), _size(image, body), 0, b""
    count = 0
    for number, piece in enumerate(read_pieces(image.path)):
        known = number < len(image.digests)
        if not known or hashlib.sha256(piece).digest() != image.digests[number]:
            raise ImageError(f"{image.path} has changed while it was read", "leave it as it is")
        count += 1
        if not number:
            first = piece
        elif number in wanted:
            target.write(number * CHUNK_BYTES, piece)
            done += len(piece)
            if number % _SETTLE_PIECES == 0:
                target.settle()
            progress("writing", done, total)
    if count != len(image.digests):
        raise ImageError(f"{image.path} has become shorter while it was read", "leave it as it is")
    return first


def _compare(image: Image, target: Target, number: int) -> int:
    """Read a piece back; its length."""
    piece = target.read(number * CHUNK_BYTES, _length(image, number))
    if hashlib.sha256(piece).digest() != image.digests[number]:
        begin = number * CHUNK_BYTES
        raise DriveError(
            f"{target.path} gives back other bytes than were written, "
            f"within {len(piece)} bytes from {begin} on",
            _AGAIN,
        )
    return len(piece)


def _length(image: Image, number: int) -> int:
    return min(CHUNK_BYTES, image.size_bytes - number * CHUNK_BYTES)


def _size(image: Image, pieces: list[int]) -> int:
    return sum(_length(image, number) for number in pieces)

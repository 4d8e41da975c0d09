"""Reading announced amounts of data, so that a hostile file cannot exhaust the memory."""

from __future__ import annotations

from typing import Protocol

import numpy as np

MAX_ARRAY_BYTES = 1 << 31
"""Largest array, in bytes, that is read from a file into memory."""

_CHUNK_BYTES = 1 << 20


class Readable(Protocol):
    """A binary stream, plain or decompressing."""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; none at the end of the stream."""
        ...


def read_bytes(stream: Readable, length: int) -> np.ndarray:
    """Read up to ``length`` bytes, chunk by chunk.

    Pages of the result are touched only as data arrives, so an announced size that the
    stream does not back costs no memory; nor is there ever a second copy of it all.

    Args:
        stream: Where to read.
        length: How many bytes are expected.

    Returns:
        ``(n,)`` uint8, with n < ``length`` where the stream ends early.
    """
    data = np.empty(length, np.uint8)
    filled = 0
    while filled < length:
        chunk = stream.read(min(_CHUNK_BYTES, length - filled))
        if not chunk:
            break
        data[filled : filled + len(chunk)] = np.frombuffer(chunk, np.uint8)
        filled += len(chunk)
    return data[:filled]

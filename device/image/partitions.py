"""The partitions of a disk image, from its MBR or its GPT.

Every number in a table is somebody else's: it is checked before anything is read or written by it.
UEFI Specification 2.10, 5.2 and 5.3.
"""

from __future__ import annotations

import binascii
import os
import struct
from dataclasses import dataclass
from typing import Final

from slfac.wire.errors import ImageError

_SECTOR: Final = 512
_ENTRY: Final = struct.Struct("<B3sB3sII")
_HEADER: Final = struct.Struct("<8sIIIIQQQQ16sQIII")
_GPT_ENTRY: Final = struct.Struct("<16s16sQQQ72s")
_PROTECTIVE: Final = 0xEE
_EXTENDED: Final = (0x05, 0x0F, 0x85)
_FAT: Final = (0x01, 0x04, 0x06, 0x0B, 0x0C, 0x0E, 0xEF)
# The first three fields of a GUID are stored with their lowest byte first.
_GPT_FAT: Final = (
    bytes.fromhex("28732ac11ff8d211ba4b00a0c93ec93b"),  # EFI system
    bytes.fromhex("a2a0d0ebe5b9334487c068b6b72699c7"),  # basic data
)
_MOST_ENTRIES: Final = 128
_REMEDY: Final = "give an image or drive that `slfac image build` made"


@dataclass(frozen=True)
class Partition:
    """One partition.

    Attributes:
        number: As the kernel counts, from 1.
        start_bytes: Where it begins in the image.
        size_bytes: Its size.
        may_be_fat: Whether its type is one that FAT file systems have.
    """

    number: int
    start_bytes: int
    size_bytes: int
    may_be_fat: bool


def read_partitions(handle: int, size_bytes: int) -> tuple[Partition, ...]:
    """Read the partition table.

    Args:
        handle: A descriptor of the image or drive.
        size_bytes: Its size.

    Returns:
        Its partitions in the order of their numbers; extended ones are left out.

    Raises:
        ImageError: There is no table, or it cannot be right.
    """
    first = _read(handle, 0, _SECTOR)
    if len(first) < _SECTOR or first[510:] != b"\x55\xaa":
        raise ImageError("there is no partition table", _REMEDY)
    entries = [_ENTRY.unpack_from(first, 446 + 16 * number) for number in range(4)]
    if any(kind == _PROTECTIVE for _, _, kind, _, _, _ in entries):
        found = _gpt(handle, size_bytes)
    else:
        found = [
            Partition(number, start * _SECTOR, count * _SECTOR, kind in _FAT)
            for number, (_, _, kind, _, start, count) in enumerate(entries, start=1)
            if kind and kind not in _EXTENDED
        ]
    _check(found, size_bytes)
    return tuple(found)


def _gpt(handle: int, size_bytes: int) -> list[Partition]:
    header = _read(handle, _SECTOR, _SECTOR)
    if len(header) < _SECTOR or header[:8] != b"EFI PART":
        raise ImageError("its GPT is missing", _REMEDY)
    fields = _HEADER.unpack_from(header)
    length, checksum, table, count, width, entries_sum = *fields[2:4], *fields[10:]
    if not _HEADER.size <= length <= _SECTOR:
        raise ImageError(f"its GPT has a header of {length} bytes", _REMEDY)
    zeroed = header[:16] + bytes(4) + header[20:length]
    if binascii.crc32(zeroed) != checksum:
        raise ImageError("the checksum of its GPT is wrong", _REMEDY)
    if not 1 <= count <= _MOST_ENTRIES or width != _GPT_ENTRY.size:
        raise ImageError(f"its GPT has {count} entries of {width} bytes", _REMEDY)
    if not 2 <= table <= size_bytes // _SECTOR:
        raise ImageError(f"its GPT has its entries at sector {table}", _REMEDY)
    data = _read(handle, table * _SECTOR, count * width)
    if len(data) < count * width or binascii.crc32(data) != entries_sum:
        raise ImageError("the checksum of its GPT's entries is wrong", _REMEDY)
    rows = enumerate(_GPT_ENTRY.iter_unpack(data), start=1)
    return [
        Partition(number, start * _SECTOR, (last + 1 - start) * _SECTOR, kind in _GPT_FAT)
        for number, (kind, _, start, last, _, _) in rows
        if any(kind)
    ]


def _check(found: list[Partition], size_bytes: int) -> None:
    """Refuse what lies outside of the image, or over another."""
    end_bytes = _SECTOR
    for one in sorted(found, key=lambda partition: partition.start_bytes):
        if one.size_bytes <= 0 or one.start_bytes < _SECTOR:
            raise ImageError(f"its partition {one.number} cannot be right", _REMEDY)
        if one.start_bytes < end_bytes:
            raise ImageError(f"its partition {one.number} lies over another", _REMEDY)
        end_bytes = one.start_bytes + one.size_bytes
        if end_bytes > size_bytes:
            raise ImageError(
                f"its partition {one.number} ends at byte {end_bytes}, the image has {size_bytes}",
                "the image was cut short: fetch or build it again",
            )
    if not found:
        raise ImageError("its partition table is empty", _REMEDY)


def _read(handle: int, at: int, count: int) -> bytes:
    try:
        return os.pread(handle, count, at)
    except OSError as error:
        raise ImageError(f"it cannot be read at byte {at}: {error.strerror}") from error

"""A disk's layout: an MBR with partitions for booting, for data and for the root, which grows."""

from __future__ import annotations

import struct
from dataclasses import dataclass

SECTOR_BYTES = 512
#: Cards erase in blocks of this size or smaller.
ALIGN_BYTES = 4 << 20
_FAT32_LBA = 0x0C
_LINUX = 0x83
_TABLE_AT = 446
# Addresses in cylinders, heads and sectors are for machines of the last century.
_NO_CHS = b"\xfe\xff\xff"


#: Numbers of the partitions. The root is the last one, so that it can grow.
BOOT, DATA, ROOT = 1, 2, 3


@dataclass(frozen=True)
class Extent:
    """Where a partition is.

    Attributes:
        begin: Its first byte.
        size_bytes: Its size.
    """

    begin: int
    size_bytes: int

    @property
    def end(self) -> int:
        """The byte after its last."""
        return self.begin + self.size_bytes


@dataclass(frozen=True)
class Layout:
    """Where the partitions are.

    Attributes:
        boot: The boot partition.
        data: That for data.
        root: The root partition.
        signature: The disk's number, from which partitions get theirs.
    """

    boot: Extent
    data: Extent
    root: Extent
    signature: int

    @property
    def size_bytes(self) -> int:
        """Size of the disk."""
        return self.root.end


def partuuid(signature: int, number: int) -> str:
    """How the kernel calls a partition on any machine.

    Args:
        signature: The disk's number.
        number: ``BOOT``, ``DATA`` or ``ROOT``.
    """
    return f"{signature:08x}-{number:02x}"


def lay_out(*, boot_bytes: int, data_bytes: int, root_bytes: int, signature: int) -> Layout:
    """Put the partitions one behind the other.

    Args:
        boot_bytes: Size of the boot partition.
        data_bytes: Size of that for data.
        root_bytes: Size of the root partition.
        signature: The disk's number, 32 bits and not 0.
    """
    boot = Extent(ALIGN_BYTES, _aligned(boot_bytes))
    data = Extent(boot.end, _aligned(data_bytes))
    return Layout(boot, data, Extent(data.end, _aligned(root_bytes)), signature)


def master_boot_record(layout: Layout) -> bytes:
    """The disk's first sector.

    Args:
        layout: Where the partitions are.

    Returns:
        512 bytes.
    """
    entries = [
        _entry(0x80, _FAT32_LBA, layout.boot),
        _entry(0x00, _LINUX, layout.data),
        _entry(0x00, _LINUX, layout.root),
    ]
    begin = bytes(_TABLE_AT - 6) + struct.pack("<IH", layout.signature, 0)
    return begin + b"".join(entries).ljust(64, b"\0") + b"\x55\xaa"


def _entry(status: int, kind: int, extent: Extent) -> bytes:
    sectors = extent.begin // SECTOR_BYTES, extent.size_bytes // SECTOR_BYTES
    return struct.pack("<B3sB3sII", status, _NO_CHS, kind, _NO_CHS, *sectors)


def _aligned(size: int) -> int:
    return -(-size // ALIGN_BYTES) * ALIGN_BYTES

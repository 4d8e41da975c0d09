"""Disk images as `slfac image build` lays them out, small, with real file systems."""

from __future__ import annotations

import binascii
import os
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

from slfac.device.image.mark import MARK, Mark, pack_mark

SECTOR = 512
MIB = 1 << 20
ROOT = Path(__file__).parents[2]
ESP = bytes.fromhex("28732ac11ff8d211ba4b00a0c93ec93b")
LINUX = bytes.fromhex("af3dc60f838472478e793d69d8477de4")
#: Partition number, type in an MBR, start and size in MiB.
LAYOUT = ((1, 0x0C, 1, 40), (2, 0x83, 41, 16), (3, 0x83, 57, 8))


def with_tools(*more: str) -> None:
    """Put mtools and dosfstools onto the path: the system's, or what make has unpacked.

    Args:
        more: Other programs that must be there.
    """
    unpacked = [ROOT / ".venv" / "tools" / folder for folder in ("usr/bin", "usr/sbin", "sbin")]
    beside = Path(sys.executable).parent
    for folder in (*unpacked, Path("/usr/sbin"), Path("/sbin"), beside):
        if str(folder) not in os.environ["PATH"].split(os.pathsep):
            os.environ["PATH"] += os.pathsep + str(folder)
    for name in ("mcopy", "mkfs.vfat", *more):
        assert shutil.which(name), f"{name} is missing: make .venv/.tools, or install its package"


def mtool(*command: str, given: bytes = b"") -> bytes:
    """Run one of mtools."""
    with_tools()
    done = subprocess.run(command, input=given, capture_output=True, check=False)
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


def mbr(layout=LAYOUT) -> bytes:
    """The first sector of a disk with an MBR."""
    sector = bytearray(SECTOR)
    for number, kind, start, size in layout:
        struct.pack_into(
            *("<B3sB3sII", sector, 446 + 16 * (number - 1), 0x80 if number == 1 else 0),
            *(b"\xfe\xff\xff", kind, b"\xfe\xff\xff", start * MIB // SECTOR, size * MIB // SECTOR),
        )
    sector[510:] = b"\x55\xaa"
    return bytes(sector)


def gpt(layout=LAYOUT, disk_sectors: int = 66 * MIB // SECTOR, count: int = 128) -> bytes:
    """The first sectors of a disk with a GPT: protective MBR, header, entries."""
    sector = bytearray(SECTOR)
    struct.pack_into("<B3sB3sII", sector, 446, 0, b"", 0xEE, b"", 1, disk_sectors - 1)
    sector[510:] = b"\x55\xaa"
    entries = bytearray(128 * count)
    for number, kind, start, size in layout:
        first = start * MIB // SECTOR
        guid = ESP if kind == 0x0C else LINUX
        struct.pack_into(
            *("<16s16sQQQ72s", entries, 128 * (number - 1), guid, bytes([number] * 16)),
            *(first, first + size * MIB // SECTOR - 1, 0, b""),
        )
    header = gpt_header(disk_sectors=disk_sectors, entries=bytes(entries), count=count)
    return bytes(sector) + header.ljust(SECTOR, b"\0") + bytes(entries)


def gpt_header(*, own=1, table=2, disk_sectors: int, entries: bytes, count=128) -> bytes:
    """A header with right checksums."""
    fields = [
        b"EFI PART",
        0x10000,
        92,
        0,
        0,
        own,
        disk_sectors - own,
        34,
        disk_sectors - 34,
        b"G" * 16,
        table,
    ]
    fields += [count, 128, binascii.crc32(entries)]
    layout = struct.Struct("<8sIIIIQQQQ16sQIII")
    fields[3] = binascii.crc32(layout.pack(*fields))
    return layout.pack(*fields)


def make_card(
    path: Path, *, table: bytes | None = None, mark: Mark | bytes | None = None, size_mib: int = 66
) -> Path:
    """An image: a FAT32 boot partition with a mark, a root without file system, one for data."""
    with path.open("wb") as stream:
        stream.write(mbr() if table is None else table)
        stream.truncate(size_mib * MIB)
    where = f"{path}@@{MIB}"
    mtool("mformat", "-i", where, "-F", "-T", str(40 * MIB // SECTOR), "-v", "BOOT", "::")
    if mark is None:
        mark = Mark(board="qemu", version="0.1.0", data_partition=3)
    mtool("mmd", "-i", where, "::/slfac")
    text = pack_mark(mark) if isinstance(mark, Mark) else mark
    mtool("mcopy", "-i", where, "-", f"::/{MARK}", given=text)
    return path


def boot_file(card: Path, name: str) -> bytes:
    """A file of a card's boot partition."""
    return mtool("mtype", "-i", f"{card}@@{MIB}", f"::/{name}")


def fill(card: Path) -> None:
    """Fill a card's boot partition, up to its last cluster."""
    where = f"{card}@@{MIB}"
    listing = mtool("mdir", "-i", where, "::/").decode()
    free = re.search(r"([\d ]+) bytes free", listing)[1].replace(" ", "")
    mtool("mcopy", "-i", where, "-", "::/filler", given=bytes(int(free)))

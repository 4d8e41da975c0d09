"""Puts a disk together: the partition table, the boot partition's FAT, and the root's ext4."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from slfac.device.image.build.layout import Layout, master_boot_record
from slfac.device.image.programs import Ended, run_program
from slfac.wire.errors import ImageError

_PIECE = 1 << 20
_LABEL = "SLFAC-BOOT"
_LIMIT_S = 600.0
_FREE = re.compile(r"^\s+Free blocks: (.*)$", re.MULTILINE)
_BLOCK_SIZE = re.compile(r"^Block size:\s+(\d+)$", re.MULTILINE)
_BLOCK_COUNT = re.compile(r"^Block count:\s+(\d+)$", re.MULTILINE)


def make_fat(target: Path, size_bytes: int, files: Path, *, number: int, time_s: int) -> None:
    """Make a FAT file system with a folder's files in it.

    Args:
        target: The file to make.
        size_bytes: Its size.
        files: The folder.
        number: The file system's number, 32 bits.
        time_s: When everything is said to have been made.

    Raises:
        ImageError: It cannot be made, or the files do not fit.
    """
    for found in (files, *files.rglob("*")):
        os.utime(found, (time_s, time_s))
    with target.open("wb") as stream:
        stream.truncate(size_bytes)
    env = {"SOURCE_DATE_EPOCH": str(time_s), "TZ": "UTC"}
    kind = ("--invariant", "-F", "32", "-n", _LABEL, "-i", f"{number:08x}")
    _must(["mkfs.vfat", *kind, str(target)], env)
    names = [str(found) for found in sorted(files.iterdir())]
    _must(["mcopy", "-s", "-m", "-i", str(target), *names, "::/"], env)


def write_disk(target: Path, layout: Layout, *, boot: Path, root: Path) -> None:
    """Write the disk as one file, with holes where it holds nothing.

    Args:
        target: The file to make.
        layout: Where its partitions are.
        boot: The boot partition's file system.
        root: The root partition's.
    """
    with target.open("wb") as disk:
        disk.write(master_boot_record(layout))
        for source, extent in ((boot, layout.boot), (root, layout.root)):
            if source.stat().st_size > extent.size_bytes:
                raise ImageError(f"{source.name} is larger than its partition")
            with source.open("rb") as stream:
                offset = extent.begin
                while piece := stream.read(_PIECE):
                    if piece.strip(b"\0"):
                        disk.seek(offset)
                        disk.write(piece)
                    offset += len(piece)
        disk.truncate(layout.size_bytes)


def used_ranges(layout: Layout, *, boot: Path, root: Path) -> list[tuple[int, int]]:
    """Parts of the disk that a card must have, whatever it held before.

    What is zero may matter, such as an empty table; what a file system calls free does not.

    Args:
        layout: Where the partitions are.
        boot: The boot partition's file system.
        root: The root partition's.

    Returns:
        Beginnings and ends in bytes, sorted and disjoint.
    """
    first, begin = (0, layout.boot.begin), layout.boot.begin
    # FAT's tables come first; behind the last byte that is not zero there are free clusters only.
    last = max((end for _, end in _held(boot)), default=0)
    ext4 = [(layout.root.begin + a, layout.root.begin + b) for a, b in ext4_used(str(root))]
    return [first, (begin, begin + last), *ext4]


def _held(path: Path) -> Iterator[tuple[int, int]]:
    with path.open("rb") as stream:
        offset = 0
        while piece := stream.read(_PIECE):
            if piece.strip(b"\0"):
                yield offset, offset + len(piece.rstrip(b"\0"))
            offset += len(piece)


def ext4_used(where: str) -> list[tuple[int, int]]:
    """Ranges of blocks that are in use, as dumpe2fs tells what is free.

    Args:
        where: A file with the file system, or ``IMAGE?offset=BYTES``.

    Returns:
        Beginnings and ends in bytes from the file system's own beginning, sorted and disjoint.

    Raises:
        ImageError: It cannot be read.
    """
    told = _must(["dumpe2fs", where], {}).output.decode("ascii", "replace")
    size, count = _number(_BLOCK_SIZE, told), _number(_BLOCK_COUNT, told)
    free = sorted(
        (int(first), int(last or first))
        for line in _FREE.findall(told)
        for first, _, last in (span.strip().partition("-") for span in line.split(","))
        if first
    )
    used, at = [], 0
    for first, last in (*free, (count, count)):
        if first > at:
            used.append((at * size, first * size))
        at = last + 1
    return used


def _number(pattern: re.Pattern[str], text: str) -> int:
    match = pattern.search(text)
    if match is None:
        raise ImageError("what dumpe2fs prints cannot be read", "install a current e2fsprogs")
    return int(match[1])


def _must(command: list[str], env: Mapping[str, str]) -> Ended:
    ended = run_program(command, limit_s=_LIMIT_S, env=env)
    if ended.code:
        raise ImageError(f"{command[0]} failed: {ended.said or f'code {ended.code}'}")
    return ended

#!/usr/bin/python3
"""Lets the root partition and its file system take the whole card, at the first boot.

An image is as small as it can be. systemd-repart does this for a GPT only; the standard library is
enough for both kinds of table. Nothing happens unless the root partition is the disk's last one.
Power may go at any time: an MBR is one sector, of a GPT the copy is written before the first, and
what is not taken down as done is looked at again at the next boot.
"""

from __future__ import annotations

import argparse
import binascii
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

SECTOR = 512
#: Partitions end at a whole MiB.
ALIGN = 2048
ENTRY = 128
PROGRAM_S = 600
DONE = "var/lib/slfac-firstboot/grown"
Run = Callable[[Sequence[str]], int]


class GrowError(Exception):
    """The partition cannot grow, and the boot goes on."""


def run_program(command: Sequence[str]) -> int:
    """Run a program; 127 if there is none."""
    try:
        done = subprocess.run(  # noqa: S603 - our own commands; no shell sees them
            command, timeout=PROGRAM_S, check=False, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError:
        return 127
    except subprocess.TimeoutExpired as error:
        raise GrowError(f"{command[0]} does not end") from error
    return done.returncode


def grow_root(root: Path, run: Run = run_program) -> str:
    """Let the root partition and its file system grow.

    Args:
        root: The system's root folder.
        run: Runs a program and gives its exit code.

    Returns:
        What was done, for people; empty if nothing.

    Raises:
        GrowError: The table is damaged, or a program failed.
        OSError: Something cannot be read or written.
    """
    text = (root / "proc/self/mountinfo").read_text("utf-8", "replace")
    rows = [line.split(" ") for line in text.splitlines()]
    numbers = [row[2] for row in rows if len(row) > 4 and row[4] == "/"]
    here = (root / "sys/dev/block" / numbers[-1]).resolve() if numbers else Path()
    if not numbers or not (here / "partition").is_file():
        return ""
    number, start, size = (read_number(here / name) for name in ("partition", "start", "size"))
    disk_size = read_number(here.parent / "size")
    done = root / DONE
    if done.is_file() and done.read_text("utf-8", "replace") == str(disk_size):
        return ""
    said = ""
    if start == max(read_number(one.parent / "start") for one in here.parent.glob("*/partition")):
        disk = root / "dev" / here.parent.name
        end = grow_table(disk, number, start, disk_size)
        if end > start + size:
            # The kernel goes by its own copy of the table.
            need(run, "partx", "--update", "--nr", str(number), str(disk))
            said = f"the root partition has {(end - start) * SECTOR / 1e9:.1f} GB now"
        if (root / "usr/sbin/resize2fs").exists():
            need(run, "resize2fs", str(root / "dev" / here.name))
        else:
            need(run, str(root / "usr/lib/systemd/systemd-growfs"), "/")
    done.parent.mkdir(parents=True, exist_ok=True)
    done.write_text(str(disk_size))
    return said


def read_number(path: Path) -> int:
    """A number that the kernel tells."""
    return int(path.read_text("ascii"))


def need(run: Run, *command: str) -> None:
    """Run a program that has to succeed."""
    code = run(command)
    if code:
        raise GrowError(f"`{' '.join(command)}` ended with {code}")


def grow_table(disk: Path, number: int, start: int, disk_size: int) -> int:
    """Let a partition end where its disk does.

    Args:
        disk: The disk.
        number: Of its partition that lies last.
        start: Where that begins, in sectors.
        disk_size: Sectors of the disk.

    Returns:
        Where it ends then, in sectors.

    Raises:
        GrowError: The table is damaged, or another than the kernel's.
    """
    handle = os.open(disk, os.O_RDWR | os.O_CLOEXEC)
    try:
        first = bytearray(os.pread(handle, SECTOR, 0))
        if first[510:] != b"\x55\xaa":
            raise GrowError(f"{disk} has no partition table")
        if any(first[446 + 16 * entry + 4] == 0xEE for entry in range(4)):
            return grow_gpt(handle, number, start, disk_size)
        at = 446 + 16 * (number - 1)
        if number > 4 or struct.unpack_from("<I", first, at + 8)[0] != start:
            raise GrowError(f"{disk} does not have partition {number} where the kernel does")
        (count,) = struct.unpack_from("<I", first, at + 12)
        end = min(disk_size, 0xFFFFFFFF) // ALIGN * ALIGN
        if end > start + count:
            struct.pack_into("<I", first, at + 12, end - start)
            os.pwrite(handle, first, 0)
            os.fsync(handle)
        return int(max(end, start + count))
    finally:
        os.close(handle)


def grow_gpt(handle: int, number: int, start: int, disk_size: int) -> int:
    """The same in a GPT, whose copy moves to the disk's new end.

    Args:
        handle: A descriptor of the disk.
        number: Of its partition that lies last.
        start: Where that begins, in sectors.
        disk_size: Sectors of the disk.

    Returns:
        Where it ends then, in sectors.

    Raises:
        GrowError: The table is damaged, or another than the kernel's.
    """
    try:
        header, entries = read_gpt(handle, 1)
        whole, table = True, struct.unpack_from("<Q", header, 72)[0]
    except GrowError:
        # Power went after the copy was written; the kernel goes by that then.
        header, entries = read_gpt(handle, disk_size - 1)
        whole, table = False, 2
    at = ENTRY * (number - 1)
    first, last = struct.unpack_from("<QQ", entries.ljust(at + ENTRY, b"\0"), at + 32)
    if first != start:
        raise GrowError(f"the disk does not have partition {number} where the kernel does")
    copy_at = disk_size - 1 - -(-len(entries) // SECTOR)
    end = max(copy_at // ALIGN * ALIGN, last + 1)
    if whole and end == last + 1:
        return int(end)
    struct.pack_into("<Q", entries, at + 40, end - 1)
    for own, other, place in ((disk_size - 1, 1, copy_at), (1, disk_size - 1, table)):
        struct.pack_into("<QQ", header, 24, own, other)
        struct.pack_into("<Q", header, 48, copy_at - 1)
        struct.pack_into("<Q", header, 72, place)
        struct.pack_into("<I", header, 88, binascii.crc32(entries))
        struct.pack_into("<I", header, 16, 0)
        struct.pack_into("<I", header, 16, binascii.crc32(header))
        os.pwrite(handle, entries, place * SECTOR)
        os.pwrite(handle, header.ljust(SECTOR, b"\0"), own * SECTOR)
        os.fsync(handle)
    return int(end)


def read_gpt(handle: int, sector: int) -> tuple[bytearray, bytearray]:
    """A GPT's header and entries.

    Args:
        handle: A descriptor of the disk.
        sector: Where the header is.

    Returns:
        Both; only if their checksums are right.

    Raises:
        GrowError: They are not.
    """
    header = bytearray(os.pread(handle, 92, sector * SECTOR))
    if len(header) < 92 or header[:8] != b"EFI PART":
        raise GrowError("the disk has no GPT")
    length, checksum = struct.unpack_from("<II", header, 12)
    table, count, width, entries_sum = struct.unpack_from("<QIII", header, 72)
    struct.pack_into("<I", header, 16, 0)
    good = length == 92 and width == ENTRY and 1 <= count <= 128
    if not good or binascii.crc32(header) != checksum:
        raise GrowError("the disk's GPT is damaged")
    entries = bytearray(os.pread(handle, count * width, table * SECTOR))
    if binascii.crc32(entries) != entries_sum:
        raise GrowError("the entries of the disk's GPT are damaged")
    return header, entries


def main(arguments: Sequence[str] | None = None) -> int:
    """Let this board's root grow.

    Args:
        arguments: The command line; None takes the process's.

    Returns:
        0, or 1 if it could not: the board works with less room.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("/"), help="the system's root folder")
    try:
        said = grow_root(parser.parse_args(arguments).root)
    except (GrowError, OSError, ValueError) as error:
        said, code = f"the root partition cannot grow: {error}", 1
    else:
        code = 0
    sys.stdout.write(f"slfac: {said}\n" if said else "")
    return code


if __name__ == "__main__":
    sys.exit(main())

"""Fills the partition for data: ext4, made whole from a folder, without mounting it.

ext4, not FAT, though the boot partition's tools could write that: names in capitals and small
letters stay two, folders of many thousand images are found quickly, and files may have more than
4 GB. Who wants a file system that every other computer writes uses a USB drive.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from slfac.device.image.mark import DATA_LABEL
from slfac.device.image.partitions import Partition
from slfac.device.image.programs import run_program
from slfac.wire.errors import DataError, ImageError

_LIMIT_S = 3600.0
# Tables and journal, and the end of each file's last block.
_SHARE = 0.92
_BLOCK = 4096


@dataclass(frozen=True)
class Contents:
    """What a folder of data holds.

    Attributes:
        files: How many files.
        used_bytes: What they take, in whole blocks.
        only: Name of the one file there is, at the top; empty otherwise.
    """

    files: int
    used_bytes: int
    only: str


def look_at(folder: Path) -> Contents:
    """Look at a folder before it is copied.

    Args:
        folder: The folder.

    Raises:
        DataError: It is none, is empty, or holds what a board could not read.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder", "give the folder with the data set")
    files = used_bytes = 0
    only = ""
    for path, status in _walk(folder):
        mode = status.st_mode
        if stat.S_ISDIR(mode):
            _readable(path, mode, 0o005)
        elif stat.S_ISREG(mode):
            _readable(path, mode, 0o004)
            files += 1
            only = path.name if path.parent == folder else ""
        else:
            raise DataError(f"{path} is neither a file nor a folder", "copy what it leads to")
        used_bytes += -(-max(status.st_size, 1) // _BLOCK) * _BLOCK
    if not files:
        raise DataError(f"{folder} is empty", "give the folder with the data set")
    return Contents(files, used_bytes, only if files == 1 else "")


def fill_data(image: Path, partition: Partition, folder: Path) -> None:
    """Make the partition's file system anew, with a copy of a folder in it.

    Args:
        image: The image or drive.
        partition: Its partition for data.
        folder: What to copy; :func:`look_at` has found nothing wrong with it.

    Raises:
        DataError: It does not fit.
        ImageError: The file system cannot be made, or is found damaged.
        MissingExtraError: e2fsprogs is not installed.
    """
    need_bytes = look_at(folder).used_bytes
    if need_bytes > partition.size_bytes * _SHARE:
        raise _too_large(folder, need_bytes, partition)
    # Discarding gains little, and its range on a drive with other partitions is not left to chance.
    options = f"offset={partition.start_bytes},nodiscard,root_owner=0:0"
    kind = ("-t", "ext4", "-L", DATA_LABEL, "-m", "0", "-E", options)
    blocks_kb = f"{partition.size_bytes // 1024}k"
    made = run_program(
        ["mke2fs", "-q", "-F", *kind, "-d", str(folder), str(image.absolute()), blocks_kb],
        limit_s=_LIMIT_S,
    )
    if made.code and "allocate" in made.said:
        raise _too_large(folder, need_bytes, partition)
    if made.code:
        raise ImageError(f"mke2fs fails on partition {partition.number} of {image}: {made.said}")
    where = f"{image.absolute()}?offset={partition.start_bytes}"
    checked = run_program(["e2fsck", "-f", "-n", where], limit_s=_LIMIT_S)
    if checked.code:
        raise ImageError(
            f"partition {partition.number} of {image} reads back damaged: {checked.said}",
            "check the drive, and write the image again",
        )


def _too_large(folder: Path, need_bytes: int, partition: Partition) -> DataError:
    return DataError(
        f"{folder} has {need_bytes / 1e6:.0f} MB, the partition for data "
        f"{partition.size_bytes / 1e6:.0f} MB with its tables",
        "put it onto a USB drive, and name that: --data-at LABEL/FOLDER",
    )


def _readable(path: Path, mode: int, needed: int) -> None:
    if mode & needed != needed:
        raise DataError(
            f"{path} can be read by its owner only (mode {stat.S_IMODE(mode):04o}), "
            "which on the board is nobody",
            f"chmod -R a+rX {path}",
        )


def _walk(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Everything in a folder, and itself; links are not followed."""

    def failed(error: OSError) -> None:
        raise DataError(f"cannot read {error.filename}: {error.strerror}") from error

    try:
        for place, folders, names in os.walk(folder, onerror=failed):
            if Path(place) == folder:
                yield folder, folder.stat()
            for name in sorted((*folders, *names)):
                path = Path(place) / name
                yield path, path.lstat()
    except OSError as error:
        failed(error)

"""Which drives may be written, and why others may not."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from slfac.device.image.flash.disks import Disk
from slfac.wire.errors import DriveError

#: No card or stick that a board starts from is larger; a disk with somebody's data may be.
MOST_BYTES = 2 << 40
_LIST = "`slfac image flash IMAGE` lists the drives that can be written"


def root_number() -> str:
    """Device number, ``major:minor``, of what this system runs from."""
    number = Path("/").stat().st_dev
    return f"{os.major(number)}:{os.minor(number)}"


def objections(disk: Disk, *, need_bytes: int, root: str) -> list[str]:
    """Why a drive must not be written.

    Args:
        disk: The drive.
        need_bytes: Size of the image; 0 where it is not known yet.
        root: Number of the device that this system runs from.

    Returns:
        Reasons in words; none if it may be.
    """
    if disk.kind not in {"disk", "loop"}:
        return [f"is no whole drive ({disk.kind})"]
    found = [f"{held.path} is {held.how}" for held in disk.held]
    if root in disk.numbers:
        found.append("this system runs from it")
    if disk.read_only:
        found.append("is read-only; a card may have a lock switch")
    if not disk.size_bytes:
        found.append("has no medium in it")
    elif disk.size_bytes < need_bytes:
        found.append(f"holds {disk.size_bytes} bytes, the image has {need_bytes}")
    elif disk.size_bytes > MOST_BYTES:
        found.append(f"holds {disk.size_bytes / 1e12:.1f} TB, more than any card")
    if not disk.pluggable:
        found.append("is built into this machine")
    return found


def candidates(disks: Sequence[Disk], *, need_bytes: int, root: str) -> list[Disk]:
    """Drives that may be written; loop devices only if they are named.

    Args:
        disks: All there are.
        need_bytes: Size of the image.
        root: Number of the device that this system runs from.
    """
    return [
        disk
        for disk in disks
        if disk.kind == "disk" and not objections(disk, need_bytes=need_bytes, root=root)
    ]


def find_disk(disks: Sequence[Disk], path: Path) -> Disk:
    """The drive behind a path, which may be a link such as those of ``/dev/disk/by-id``.

    Args:
        disks: All there are.
        path: The path.

    Raises:
        DriveError: There is none.
    """
    real = os.path.realpath(path)
    for disk in disks:
        if os.path.realpath(disk.path) == real:
            return disk
    raise DriveError(f"{path} is no drive of this machine", _LIST)


def check_disk(disk: Disk, *, need_bytes: int, root: str) -> None:
    """Refuse a drive that must not be written.

    Args:
        disk: The drive.
        need_bytes: Size of the image.
        root: Number of the device that this system runs from.

    Raises:
        DriveError: It must not; every reason is named.
    """
    found = objections(disk, need_bytes=need_bytes, root=root)
    if found:
        remedy = "unmount or close what uses it" if disk.held else _LIST
        raise DriveError(f"{disk.path} ({disk.title}) is refused: {'; '.join(found)}", remedy)

"""An image or drive of ours, open for changes: its partitions, its mark, its boot files."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from slfac.device.image.fat import Fat
from slfac.device.image.flash.disks import Disk, list_disks
from slfac.device.image.flash.guard import find_disk
from slfac.device.image.mark import MARK, MOST_BYTES, Mark, unpack_mark
from slfac.device.image.partitions import Partition, read_partitions
from slfac.wire.errors import DriveError, ImageError

_PACKED = {b"\x28\xb5\x2f\xfd": "zstd", b"\xfd7zX": "xz", b"\x1f\x8b": "gzip"}
Disks = Callable[[], list[Disk]]


@dataclass(frozen=True)
class Opened:
    """An image of ours.

    Attributes:
        path: The file or drive.
        is_file: Whether it is a file.
        partitions: All of its partitions.
        boot: The files of its boot partition.
        mark: What it says of itself.
    """

    path: Path
    is_file: bool
    partitions: tuple[Partition, ...]
    boot: Fat
    mark: Mark

    @property
    def data_partition(self) -> Partition | None:
        """The partition for data.

        Raises:
            ImageError: The mark names one that is not there.
        """
        number = self.mark.data_partition
        if number is None:
            return None
        for one in self.partitions:
            if one.number == number:
                return one
        raise ImageError(
            f"{self.path} has no partition {number}, though its {MARK} says so",
            "write or build the image again",
        )


def open_image(path: Path, *, disks: Disks = list_disks, system: Path = Path("/sys")) -> Opened:
    """Find an image's boot partition, and make sure that it is one of ours and nobody uses it.

    Args:
        path: The file or drive.
        disks: Lists the drives of this machine.
        system: Where the kernel tells of its devices.

    Raises:
        ImageError: It is no image of ours, compressed, or damaged.
        DriveError: It is mounted, or otherwise in use.
        MissingExtraError: mtools is not installed.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            kind = os.fstat(handle).st_mode
            if not (stat.S_ISREG(kind) or stat.S_ISBLK(kind)):
                raise ImageError(f"{path} is no image", "name an image's file, or a drive")
            refuse_used(path, is_file=stat.S_ISREG(kind), disks=disks, system=system)
            _refuse_packed(path, os.pread(handle, 4, 0))
            partitions = _partitions(path, handle, os.lseek(handle, 0, os.SEEK_END))
        finally:
            os.close(handle)
    except PermissionError as error:
        raise ImageError(
            f"{path} may not be read by this user", "run it as its owner, for a drive with sudo"
        ) from error
    except OSError as error:
        raise ImageError(
            f"cannot read {path}: {error.strerror}", "check the path, and who may read it"
        ) from error
    boot, mark = _boot(path, partitions)
    return Opened(path, stat.S_ISREG(kind), partitions, boot, mark)


def _boot(path: Path, partitions: tuple[Partition, ...]) -> tuple[Fat, Mark]:
    damage = ""
    for one in partitions:
        if not one.may_be_fat:
            continue
        fat = Fat(path, one)
        try:
            data = fat.read(MARK, MOST_BYTES)
        except ImageError as error:
            damage = damage or f": {error.what}"
            continue
        if data is not None:
            return fat, unpack_mark(data)
    raise ImageError(
        f"{path} is no image of slfac: no FAT partition of it holds {MARK}{damage}",
        "give an image or drive that `slfac image build` made",
    )


def _partitions(path: Path, handle: int, size_bytes: int) -> tuple[Partition, ...]:
    try:
        return read_partitions(handle, size_bytes)
    except ImageError as error:
        raise ImageError(f"{path} is no image of slfac: {error.what}", error.remedy) from error


def _refuse_packed(path: Path, beginning: bytes) -> None:
    for magic, name in _PACKED.items():
        if beginning.startswith(magic):
            raise ImageError(
                f"{path} is compressed by {name}",
                "write it to a file or drive first: `slfac image flash IMAGE FILE`",
            )


def refuse_used(path: Path, *, is_file: bool, disks: Disks, system: Path) -> None:
    """Refuse what is in use: what a mounted file system holds in memory would go over ours.

    Args:
        path: The file or drive.
        is_file: Whether it is a file.
        disks: Lists the drives of this machine.
        system: Where the kernel tells of its devices.

    Raises:
        DriveError: It is in use, or is no drive.
    """
    if not is_file:
        disk = find_disk(disks(), path)
        uses = [f"{held.path} is {held.how}" for held in disk.held]
    else:
        uses = [f"{name} is attached to it" for name in _loops(path, system)]
    if uses:
        raise DriveError(f"{path} is in use: {'; '.join(uses)}", "unmount or close what uses it")


def _loops(path: Path, system: Path) -> list[str]:
    """Loop devices that stand on a file."""
    real = os.path.realpath(path)
    found = []
    for backing in sorted(system.glob("block/loop*/loop/backing_file")):
        try:
            if backing.read_text("utf-8", "replace").strip() == real:
                found.append(f"/dev/{backing.parts[-3]}")
        except OSError:
            # It was detached meanwhile.
            continue
    return found

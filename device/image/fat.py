"""Files on a FAT partition inside of an image, by mtools: nothing is mounted, nobody is root."""

from __future__ import annotations

import os
import re
import struct
from pathlib import Path

from slfac.device.image.partitions import Partition
from slfac.device.image.programs import Ended, run_program
from slfac.wire.errors import ImageError, SettingsError

# "<4-17>" is a run of clusters, "<4>" one alone.
_RUN = re.compile(r"<(\d+)(?:-(\d+))?>")
_FREE = re.compile(r"^\s*([\d ]+) bytes free", re.MULTILINE)
_CHUNK = 1 << 20


class Fat:
    """The FAT file system of one partition.

    Args:
        image: The image or drive.
        partition: Which of its partitions.
        time_s: What files are said to have been written at, in seconds since 1970; None for now.

    Raises:
        SettingsError: The path of the image is one that the programs cannot take.
    """

    def __init__(self, image: Path, partition: Partition, time_s: int | None = None) -> None:
        if "@@" in str(image) or "?" in str(image):
            raise SettingsError(
                f"the path {str(image)!r} holds '@@' or '?', which mtools or mke2fs would take for "
                "the end of it",
                "give it another name",
            )
        self._image = image
        self._partition = partition
        self._where = f"{image.absolute()}@@{partition.start_bytes}"
        self._env = {"SOURCE_DATE_EPOCH": str(time_s), "TZ": "UTC"} if time_s is not None else {}

    def read(self, name: str, most_bytes: int) -> bytes | None:
        """A file's content.

        Args:
            name: Its path, without a leading slash.
            most_bytes: What it may have; longer ones are damaged, or somebody's trap.

        Returns:
            The content; None if there is no such file.

        Raises:
            ImageError: It cannot be read, or is too long.
            MissingExtraError: mtools is not installed.
        """
        runs = self._runs(name)
        if runs is None:
            return None
        if self._bytes_of(runs) > most_bytes + _CHUNK:
            raise ImageError(f"{name} has more than {most_bytes} bytes", "inject it again")
        data = self._must(["mtype", "-i", self._where, f"::/{name}"]).output
        if len(data) > most_bytes:
            raise ImageError(f"{name} has more than {most_bytes} bytes", "inject it again")
        return data

    def write(self, name: str, data: bytes) -> None:
        """Write a file; one that is there must have been erased before.

        Args:
            name: Its path; its folder is made when missing.
            data: Its content.

        Raises:
            ImageError: It cannot be written, or reads back as something else.
            MissingExtraError: mtools is not installed.
        """
        folder = name.rpartition("/")[0]
        if folder and run_program(["mdir", "-b", "-i", self._where, f"::/{folder}"]).code:
            self._must(["mmd", "-i", self._where, f"::/{folder}"])
        self._must(["mcopy", "-i", self._where, "-", f"::/{name}"], given=data)
        if self.read(name, len(data)) != data:
            raise ImageError(
                f"{name} reads back as something else than was written",
                "the file system or the drive is damaged: write the image again",
            )

    def erase(self, name: str) -> None:
        """Overwrite a file's clusters, then delete it: what it held is nowhere any more.

        Args:
            name: Its path; nothing happens if there is no such file.

        Raises:
            ImageError: It cannot be erased.
            MissingExtraError: mtools is not installed.
        """
        runs = self._runs(name)
        if runs is None:
            return
        data_at, cluster_bytes = self._geometry()
        try:
            handle = os.open(self._image, os.O_WRONLY | os.O_CLOEXEC)
            try:
                for first, last in runs:
                    at = data_at + (first - 2) * cluster_bytes
                    _zero(handle, at, (last - first + 1) * cluster_bytes, self._partition)
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            raise ImageError(
                f"cannot write to {self._image}: {error.strerror}",
                "try again, or take another card",
            ) from error
        self._must(["mdel", "-i", self._where, f"::/{name}"])

    def free_bytes(self) -> int:
        """Room that no file takes.

        Raises:
            ImageError: The file system cannot be read.
            MissingExtraError: mtools is not installed.
        """
        listing = self._must(["mdir", "-i", self._where, "::/"]).output.decode("utf-8", "replace")
        found = _FREE.search(listing)
        if found is None:
            raise ImageError("the boot partition's file system is damaged", "write the image again")
        return int(found[1].replace(" ", ""))

    def _runs(self, name: str) -> list[tuple[int, int]] | None:
        """First and last cluster of each run of a file's clusters; None if there is no file."""
        ended = run_program(["mshowfat", "-i", self._where, f"::/{name}"])
        if ended.code and "not found" in ended.said:
            return None
        self._succeeded("mshowfat", ended)
        text = ended.output.decode("ascii", "replace").rpartition(f"{name} ")[2]
        return [(int(run[1]), int(run[2] or run[1])) for run in _RUN.finditer(text)]

    def _bytes_of(self, runs: list[tuple[int, int]]) -> int:
        return sum(last - first + 1 for first, last in runs) * self._geometry()[1]

    def _geometry(self) -> tuple[int, int]:
        """Where cluster 2 begins in the image, and the bytes of a cluster."""
        start = self._partition.start_bytes
        try:
            handle = os.open(self._image, os.O_RDONLY | os.O_CLOEXEC)
            try:
                boot = os.pread(handle, 512, start)
            finally:
                os.close(handle)
        except OSError as error:
            raise ImageError(
                f"cannot read {self._image}: {error.strerror}", "try again, or take another card"
            ) from error
        sector, cluster, reserved, fats, roots = struct.unpack_from("<HBHBH", boot, 11)
        short, long = struct.unpack_from("<H", boot, 22)[0], struct.unpack_from("<I", boot, 36)[0]
        if sector not in (512, 1024, 2048, 4096) or not cluster or not fats:
            raise ImageError("the boot partition's file system is damaged", "write the image again")
        root_sectors = -(-roots * 32 // sector)
        data_sector = reserved + fats * (short or long) + root_sectors
        return start + data_sector * sector, cluster * sector

    def _must(self, command: list[str], *, given: bytes = b"") -> Ended:
        ended = run_program(command, given=given, env=self._env)
        self._succeeded(command[0], ended)
        return ended

    def _succeeded(self, program: str, ended: Ended) -> None:
        # mcopy ends with 0 then, when it reads from a pipe.
        if any(words in ended.said for words in ("Disk full", "No free cluster", "No space left")):
            raise ImageError("the boot partition is full", "delete something from it")
        if not ended.code:
            return
        raise ImageError(
            f"{program} fails on partition {self._partition.number} of {self._image}: "
            f"{ended.said or f'code {ended.code}'}",
            "check the image: write or build it again",
        )


def _zero(handle: int, at: int, count: int, partition: Partition) -> None:
    inside = partition.start_bytes <= at and at + count <= (
        partition.start_bytes + partition.size_bytes
    )
    if not inside:
        raise ImageError("the boot partition's file system is damaged", "write the image again")
    while count:
        size = min(count, _CHUNK)
        written = os.pwrite(handle, bytes(size), at)
        at, count = at + written, count - written

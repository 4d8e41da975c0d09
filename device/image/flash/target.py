"""Where an image is written: a drive that nothing else may use meanwhile, or a file."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from slfac.wire.errors import DriveError

# linux/fs.h
_BLKFLSBUF = 0x1261
_BLKRRPART = 0x125F
_ZEROS = bytes(1 << 20)
_GONE = frozenset(
    {errno.EIO, errno.ENODEV, errno.ENXIO, errno.ENOMEDIUM, errno.EREMOTEIO, errno.ESHUTDOWN}
)


@contextlib.contextmanager
def open_target(path: Path, size_bytes: int) -> Iterator[Target]:
    """Open a drive for oneself, or make a file.

    Args:
        path: The drive, or a file; a file that is there is written over.
        size_bytes: Size of the image; a file gets it.

    Yields:
        The target.

    Raises:
        DriveError: It is in use, may not be written, or is neither drive nor file.
    """
    with _telling(path):
        try:
            mode = path.stat().st_mode
        except FileNotFoundError:
            mode = stat.S_IFREG
        if not (stat.S_ISBLK(mode) or stat.S_ISREG(mode)):
            raise DriveError(f"{path} is neither a drive nor a file", "name one of them")
        # On a drive O_EXCL asks the kernel for sole use; with O_CREAT it would mean a new file.
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_EXCL if stat.S_ISBLK(mode) else os.O_CREAT)
        handle = os.open(path, flags, 0o644)
    try:
        yield Target(path, handle, stat.S_ISBLK(mode), size_bytes)
    finally:
        os.close(handle)


class Target:
    """An open drive or file.

    Args:
        path: Its name.
        handle: Its file descriptor.
        is_drive: Whether it is a drive.
        size_bytes: Size of the image.

    Attributes:
        size_bytes: Size of the drive, or of the image if it is a file.
    """

    def __init__(self, path: Path, handle: int, is_drive: bool, size_bytes: int) -> None:
        self.path = path
        self._handle = handle
        self._is_drive = is_drive
        with _telling(path):
            if not is_drive:
                os.ftruncate(handle, size_bytes)
            self.size_bytes = os.lseek(handle, 0, os.SEEK_END)

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Write bytes at an offset, all of them."""
        view = memoryview(data)
        with _telling(self.path):
            while view:
                done = os.pwrite(self._handle, view, offset)
                view, offset = view[done:], offset + done

    def zero(self, begin: int, end: int) -> None:
        """Write zeros from one byte up to another, as far as there is room."""
        for offset in range(begin, min(end, self.size_bytes), len(_ZEROS)):
            size = min(len(_ZEROS), end - offset, self.size_bytes - offset)
            self.write(offset, memoryview(_ZEROS)[:size])

    def read(self, offset: int, size: int) -> bytes:
        """Read bytes at an offset; fewer only where the drive ends."""
        pieces = []
        with _telling(self.path):
            while size and (piece := os.pread(self._handle, size, offset)):
                pieces.append(piece)
                offset, size = offset + len(piece), size - len(piece)
        return b"".join(pieces)

    def settle(self) -> None:
        """Wait until all that was written is on the medium."""
        with _telling(self.path):
            os.fsync(self._handle)

    def forget(self) -> None:
        """Drop what memory holds of it, so that reading reads the medium."""
        with _telling(self.path):
            os.posix_fadvise(self._handle, 0, 0, os.POSIX_FADV_DONTNEED)
        if self._is_drive:
            # Ordinary users who may write the drive may not do this.
            with contextlib.suppress(OSError):
                fcntl.ioctl(self._handle, _BLKFLSBUF, 0)

    def reread(self) -> None:
        """Let the kernel look at the new partition table, where it can."""
        if self._is_drive:
            with contextlib.suppress(OSError):
                fcntl.ioctl(self._handle, _BLKRRPART, 0)


@contextlib.contextmanager
def _telling(path: Path) -> Iterator[None]:
    """Say what an error of the system means for a drive."""
    try:
        yield
    except OSError as error:
        raise _explained(path, error) from error


def _explained(path: Path, error: OSError) -> DriveError:
    if error.errno == errno.EBUSY:
        return DriveError(f"{path} is in use", "unmount it, and close what else uses it")
    if error.errno in {errno.EACCES, errno.EPERM}:
        return DriveError(
            f"{path} may not be written by this user",
            "run this command with sudo, or join the group that owns the drive",
        )
    if error.errno in _GONE:
        return DriveError(
            f"{path} failed or was pulled out: {error.strerror}",
            "plug it in again and write it again; if it fails again, it is broken",
        )
    if error.errno in {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}:
        return DriveError(f"{path} is full: {error.strerror}", "choose a larger one")
    return DriveError(f"{path} cannot be used: {error.strerror or error}")

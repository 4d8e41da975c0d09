"""Files that are worked on: folders that a namespace may use, hashes, and moves that are whole."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from slfac.device.image.programs import find_program, wide_path
from slfac.wire.errors import ImageError

#: Errors of the system that say that nothing more can be written.
NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_PIECE = 1 << 20


def sha256_of(path: Path) -> str:
    """A file's sha256, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def move(source: Path, target: Path) -> None:
    """Move a file to where another file system may be, whole or not at all.

    Args:
        source: The file.
        target: What it becomes.
    """
    fresh = target.with_name(f".{target.name}.new")
    try:
        with source.open("rb") as reader, fresh.open("wb") as writer:
            shutil.copyfileobj(reader, writer, _PIECE)
            os.fsync(writer.fileno())
        fresh.replace(target)
    finally:
        fresh.unlink(missing_ok=True)


@contextlib.contextmanager
def telling_space(*folders: Path) -> Iterator[None]:
    """Say what it means that nothing more can be written.

    Args:
        folders: What is written to, besides ``/var/tmp``.

    Raises:
        ImageError: No space is left.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        places = ", ".join(dict.fromkeys([*(str(folder) for folder in folders), "/var/tmp"]))  # noqa: S108 - named, not used
        raise ImageError(
            f"no space is left for the image: {error}",
            f"free some in {places}: a build takes 3 GB in /var/tmp and 1 GB in the cache",
        ) from error


@contextlib.contextmanager
def workplace(prefix: str) -> Iterator[Path]:
    """A folder that the root of a namespace may use too, until the block ends.

    Args:
        prefix: How its name begins.
    """
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir="/var/tmp"))
    folder.chmod(0o1777)
    try:
        yield folder
    finally:
        _clear(folder)


def _clear(folder: Path) -> None:
    """Delete a folder, with what a build that was ended has left of the namespace's users in it."""
    shutil.rmtree(folder, ignore_errors=True)
    helper = find_program("mmdebstrap")
    if folder.exists() and helper is not None:
        left = [str(path) for path in folder.iterdir()]
        subprocess.run(  # noqa: S603 - a list of arguments, no shell
            [helper, "--unshare-helper", "rm", "-rf", "--one-file-system", "--", *left],
            capture_output=True,
            check=False,
            env={**os.environ, "PATH": wide_path()},
        )
        shutil.rmtree(folder, ignore_errors=True)

"""A run's folder, held by one command at a time."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from slfac.wire.errors import RunError

_NAME = ".lock"


@contextlib.contextmanager
def held(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold a folder against other commands; the kernel lets go of it however this process ends.

    Args:
        folder: The folder, made if it is not there.
        wait: Whether to wait until another command lets go of it.

    Raises:
        RunError: Another command holds it, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / _NAME).open("ab")
    except OSError as error:
        raise RunError(
            f"cannot write {folder}: {error.strerror or error}",
            "choose another folder, or free some space",
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise RunError(
                f"another command is carrying it out, in {folder}",
                "wait until that has ended",
            ) from error
        except OSError:
            pass  # A network's file system may have no locks, and runs are made there all the same.
        yield

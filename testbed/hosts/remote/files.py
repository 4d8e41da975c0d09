"""Moves files between this host and the one that commands come from."""

from __future__ import annotations

import base64
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import IO, Any, Final

from slfac.testbed.hosts.remote.problem import HostProblem

# Never leaves a host, wherever it stands.
_STAYS: Final = ".key_secret"
_MOST_BYTES: Final = 1_000_000


def place(*, folder: str, data: IO[bytes]) -> dict[str, Any]:
    """Put the files of an archive in the place of a folder.

    Args:
        folder: The folder.
        data: A compressed archive.

    Returns:
        Nothing of interest.

    Raises:
        HostProblem: It cannot be written, or what came is damaged.
    """
    target = Path(folder)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=".new-", dir=target.parent))
        try:
            with tarfile.open(fileobj=data, mode="r|gz") as archive:
                options: Any = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
                archive.extractall(fresh, **options)  # noqa: S202 - our own archive, over SSH
            if target.exists():
                shutil.rmtree(target)
            fresh.rename(target)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    except (OSError, EOFError, tarfile.TarError) as error:
        raise HostProblem(f"{target} could not be written: {error}") from error
    return {}


def pack(*, folder: str, leave_out: list[str]) -> None:
    """Write a folder's files to standard output, as an archive; never secret keys.

    Args:
        folder: The folder.
        leave_out: Names of what is left out at its top.
    """

    def wanted(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        top = entry.name.split("/")[0]
        ordinary = entry.isfile() or entry.isdir()
        return entry if ordinary and _STAYS not in entry.name and top not in leave_out else None

    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|gz") as archive:
        for entry in sorted(Path(folder).glob("*")):
            archive.add(entry, entry.name, filter=wanted)


def exists(*, path: str) -> dict[str, Any]:
    """Whether something is there and can be read.

    Args:
        path: A path; ``~`` is the user's home.
    """
    place_there = Path(path).expanduser()
    try:
        if place_there.is_dir():
            next(place_there.iterdir(), None)
        else:
            place_there.open("rb").close()
    except OSError as error:
        return {"path": str(place_there), "error": error.strerror}
    return {"path": str(place_there), "error": ""}


def write(*, path: str, text: str) -> dict[str, Any]:
    """Write a small file.

    Args:
        path: Where.
        text: What, in Base64.

    Returns:
        Nothing of interest.

    Raises:
        HostProblem: It cannot be written.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        target.write_bytes(base64.b64decode(text))
    except OSError as error:
        raise HostProblem(f"{target} cannot be written: {error.strerror}") from error
    return {}


def read(*, path: str) -> dict[str, Any]:
    """Read a small file that is no secret.

    Args:
        path: Which.

    Returns:
        Its bytes, in Base64; None where there is none.

    Raises:
        HostProblem: It cannot be read.
    """
    source = Path(path)
    if source.name.endswith(_STAYS):
        raise HostProblem(f"{source} is secret")
    try:
        with source.open("rb") as file:
            return {"data": base64.b64encode(file.read(_MOST_BYTES)).decode()}
    except FileNotFoundError:
        return {"data": None}
    except OSError as error:
        raise HostProblem(f"{source} cannot be read: {error.strerror}") from error

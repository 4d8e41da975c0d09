"""Updates a board from a Debian package: tried first, and only then given to dpkg."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from slfac.device.image.update import versions
from slfac.device.image.update.package import require_device_package, unpack_version
from slfac.device.image.update.versions import Board, VersionError
from slfac.wire.errors import UpdateError

_TRIED = ".tried"
_LAST_CHARACTERS = 400


class Listed(NamedTuple):
    """A version on a board.

    Attributes:
        name: Its folder's name.
        release: The release of slfac; empty if it does not say.
        role: ``current``, ``previous``, or nothing.
    """

    name: str
    release: str
    role: str


def list_versions(board: Board) -> list[Listed]:
    """The versions on a board, by name.

    Args:
        board: The board.
    """
    roles = {board.linked(link): link for link in reversed(versions.KEPT)}
    found = []
    for folder in sorted(board.versions.glob("[!.]*")):
        try:
            release = versions.read_manifest(folder)["slfac"]
        except VersionError:
            release = ""
        found.append(Listed(folder.name, release, roles.get(folder, "")))
    return found


def update(board: Board, package: Path) -> str:
    """Update a board.

    The version is taken out of the package, compared with its hashes, and tried. Only one that
    works is given to dpkg, whose script tries it again where it will stay, and switches to it.

    Args:
        board: The board.
        package: The package's file.

    Returns:
        The version that runs now.

    Raises:
        UpdateError: The package cannot be used; what ran before runs still.
    """
    require_administrator()
    number = require_device_package(package)
    board.say(f"reading {package.name}, version {number}")
    with _told():
        _try(board, package)
        board.say("giving it to dpkg")
        code, printed = board.run(("dpkg", "--install", str(package.absolute())))
    if code:
        raise UpdateError(
            f"dpkg ended with {code}: {' '.join(printed.split())[-_LAST_CHARACTERS:]}",
            "sudo dpkg --configure -a, or install the package before this one again",
        )
    return _current(board)


def roll_back(board: Board) -> str:
    """Let the version before run again.

    Args:
        board: The board.

    Returns:
        The version that runs now.

    Raises:
        UpdateError: There is none, or it does not work.
    """
    require_administrator()
    with _told():
        versions.roll_back(board)
    return _current(board)


def require_administrator(user: Callable[[], int] = os.geteuid) -> None:
    """Refuse whoever may not change what runs on a board.

    Args:
        user: Tells the number of the user.

    Raises:
        UpdateError: It is not root.
    """
    if user():
        raise UpdateError("only root may change which version runs", "run it with sudo")


def _try(board: Board, package: Path) -> None:
    with versions.alone(board):
        folder = board.versions / _TRIED
        shutil.rmtree(folder, ignore_errors=True)
        try:
            unpack_version(package, folder)
            manifest = versions.read_manifest(folder)
            versions.require_fit(manifest)
            versions.require_whole(folder, manifest)
            versions.check(board, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _current(board: Board) -> str:
    version = board.linked("current")
    return version.name if version is not None else ""


@contextmanager
def _told() -> Iterator[None]:
    """What runs without slfac's errors speaks with them here."""
    try:
        yield
    except VersionError as error:
        raise UpdateError(
            f"{error}; the version that ran before still does",
            "take another package, or see docs/update.md",
        ) from error
    except OSError as error:
        raise UpdateError(f"the update failed: {error}", "see docs/update.md") from error

"""Options that several commands on images share, refused before minutes go into their work."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from slfac.wire.errors import SettingsError


def wheel_option(args: argparse.Namespace, name: str = "wheel") -> Path | None:
    """A wheel that was given.

    Args:
        args: The parsed command line.
        name: The option, as Python calls it.

    Returns:
        Its file; None if none was given.

    Raises:
        SettingsError: It is no file, or no wheel by its name.
    """
    path: Path | None = getattr(args, name, None)
    if path is None:
        return None
    option = _called(name)
    if not path.is_file():
        raise SettingsError(f"{option} is {str(path)!r}, which is no file", "name the wheel")
    # uv takes other names for those of packages, and asks the index for them.
    if path.suffix != ".whl":
        raise SettingsError(f"{option} is {str(path)!r}, which is no wheel", "name a .whl file")
    return path


def folder_option(args: argparse.Namespace, name: str, default: Path) -> Path:
    """A folder to write to; made.

    Args:
        args: The parsed command line.
        name: The option, as Python calls it.
        default: The folder if none was given.

    Raises:
        SettingsError: It cannot be made, or not be written to.
    """
    folder: Path = getattr(args, name, default)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        why = "" if os.access(folder, os.W_OK | os.X_OK) else "Permission denied"
    except OSError as error:
        why = "it is no folder" if isinstance(error, FileExistsError) else str(error.strerror)
    if why:
        raise SettingsError(
            f"{_called(name)} is {str(folder)!r}, which cannot be written to: {why}",
            "name another folder",
        )
    return folder


def file_option(args: argparse.Namespace, name: str) -> Path | None:
    """A file to write.

    Args:
        args: The parsed command line.
        name: The option, as Python calls it.

    Returns:
        The file; None if none was given.

    Raises:
        SettingsError: It is a folder.
    """
    path: Path | None = getattr(args, name, None)
    if path is not None and path.is_dir():
        raise SettingsError(f"{_called(name)} is {str(path)!r}, a folder", "name a file in it")
    return path


def _called(name: str) -> str:
    return f"--{name.replace('_', '-')}"

"""Settings in a TOML file, all at its top level."""

from __future__ import annotations

import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from slfac.wire.errors import SettingsError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_MAX_BYTES = 64 * 1024


def read_settings(file: Path, *, paths: Collection[str], remedy: str) -> dict[str, Any]:
    """The fields of a file; a relative path in it is relative to the file's folder.

    Args:
        file: A TOML file.
        paths: Names of the fields that are paths.
        remedy: Where to see what such a file holds.

    Returns:
        The fields as they stand there, unchecked but for the paths.

    Raises:
        SettingsError: The file cannot be read or is no TOML, or a path is none.
    """
    read = _read(file, remedy)
    for name in paths:
        if isinstance(read.get(name), str):
            read[name] = _path(file, name, read[name], remedy)
    return read


def _path(file: Path, name: str, text: str, remedy: str) -> str:
    try:
        # Neither is a path that any system call takes.
        if not text or "\0" in text:
            raise ValueError("a path has at least one character, and none that is zero")
        return str(file.parent / Path(text).expanduser())
    except (ValueError, RuntimeError) as error:
        raise SettingsError(f"{file}: setting {name} is {text!r}: {error}", remedy) from error


def _read(file: Path, remedy: str) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            data = stream.read(_MAX_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"cannot read {file}: {error.strerror}", remedy) from error
    if len(data) > _MAX_BYTES:
        raise SettingsError(f"{file} has more than {_MAX_BYTES} bytes", remedy)
    try:
        return tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{file} is no TOML: {error}", remedy) from error

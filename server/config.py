"""A server's settings from a TOML file."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slfac.server.settings import ServerSettings, checked_settings
from slfac.wire.errors import SettingsError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_MAX_BYTES = 64 * 1024
_PATHS = ("bundle", "out", "keys", "data")
_REMEDY = "docs/server.toml is an example"


def configured_settings(file: Path, **values: Any) -> ServerSettings:
    """Validate the settings of a file, some of which are given elsewhere.

    The file holds fields of :class:`ServerSettings`, all at its top level, and may hold
    ``codec`` for both ways. A relative path in it is relative to the file's folder.

    Args:
        file: A TOML file.
        **values: Fields that go before the file's.

    Returns:
        The settings.

    Raises:
        SettingsError: The file cannot be read or is no TOML, or a field is unknown, missing
            or out of range.
        AddressError: ``bind`` is malformed.
    """
    read = _read(file)
    for name in _PATHS:
        if isinstance(read.get(name), str):
            read[name] = _path(file, name, read[name])
    merged = {**split_codec(read), **split_codec(values)}
    origins = {name: f"{file}: " for name in merged if name not in split_codec(values)}
    return checked_settings(merged, origins)


def split_codec(values: Mapping[str, Any]) -> dict[str, Any]:
    """Put ``codec`` into ``codec_up`` and ``codec_down``, where they are not given.

    Args:
        values: Fields of :class:`ServerSettings`, and ``codec``.

    Returns:
        Fields of :class:`ServerSettings`.
    """
    fields = dict(values)
    if "codec" not in fields:
        return fields
    codec = fields.pop("codec")
    return {"codec_up": codec, "codec_down": codec, **fields}


def _path(file: Path, name: str, text: str) -> str:
    try:
        # Neither is a path that any system call takes.
        if not text or "\0" in text:
            raise ValueError("a path has at least one character, and none that is zero")
        return str(file.parent / Path(text).expanduser())
    except (ValueError, RuntimeError) as error:
        raise SettingsError(f"{file}: setting {name} is {text!r}: {error}", _REMEDY) from error


def _read(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            data = stream.read(_MAX_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"cannot read {file}: {error.strerror}", _REMEDY) from error
    if len(data) > _MAX_BYTES:
        raise SettingsError(f"{file} has more than {_MAX_BYTES} bytes", _REMEDY)
    try:
        return tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{file} is no TOML: {error}", _REMEDY) from error

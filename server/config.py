"""A server's settings from a TOML file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slfac.server.settings import ServerSettings, checked_settings
from slfac.wire.settings_file import read_settings

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
    read = read_settings(file, paths=_PATHS, remedy=_REMEDY)
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

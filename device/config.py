"""A device's settings from a TOML file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from slfac.device.settings import DeviceSettings, checked_settings
from slfac.wire.settings_file import read_settings

_PATHS = ("data", "keys", "bundle", "cache", "journal", "energy_report")
_REMEDY = "docs/device.toml is an example"
# Either says where the server is.
_WHERE = ("server", "discover")


def configured_settings(file: Path, **values: Any) -> DeviceSettings:
    """Validate the settings of a file, some of which are given elsewhere.

    The file holds fields of :class:`DeviceSettings`, all at its top level. A relative path in
    it is relative to the file's folder.

    Args:
        file: A TOML file.
        **values: Fields that go before the file's; ``server`` and ``discover`` go before both.

    Returns:
        The settings.

    Raises:
        SettingsError: The file cannot be read or is no TOML, or a field is unknown, missing
            or out of range.
        AddressError: ``server`` is malformed.
    """
    read = read_settings(file, paths=_PATHS, remedy=_REMEDY)
    if any(name in values for name in _WHERE):
        read = {name: value for name, value in read.items() if name not in _WHERE}
    origins = {name: f"{file}: " for name in read if name not in values}
    return checked_settings({**read, **values}, origins)

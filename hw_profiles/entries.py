"""A profile as one list of figures, each under a name that says where it stands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from slfac.hw_profiles.schema import Profile
from slfac.hw_profiles.shape import hint, is_value
from slfac.hw_profiles.units import unit_of
from slfac.hw_profiles.values import Power, Value


@dataclass(frozen=True)
class Entry:
    """A figure and where it stands.

    Attributes:
        field: Where, such as ``mode.default.idle_w``.
        value: The figure; None where it is unknown.
    """

    field: str
    value: Value | None

    @property
    def unit(self) -> str:
        """Its unit; empty for numbers without one."""
        return unit_of(self.field).name

    @property
    def scope(self) -> str:
        """What draws it; empty for what is no power, or unknown."""
        return self.value.scope if isinstance(self.value, Power) else ""


def profile_entries(profile: Profile) -> list[Entry]:
    """All figures of a profile, in the order of the schema.

    Args:
        profile: The profile.

    Returns:
        Those that are known, and those that could be: every field of each table there is.
    """
    return [
        *_entries(profile.hardware, "hardware"),
        *(e for mode in profile.modes for e in _entries(mode, f"mode.{mode.label}")),
        *(e for link in profile.links for e in _entries(link, f"link.{link.label}")),
        *(e for sensor in profile.sensors for e in _entries(sensor, f"sensor.{sensor.label}")),
    ]


def planned_powers(profile: Profile) -> Iterator[Entry]:
    """Powers that something may be predicted from.

    Args:
        profile: The profile.
    """
    for mode in profile.modes:
        for entry in _entries(msgspec.structs.replace(mode, draws=()), f"mode.{mode.label}"):
            if entry.scope:
                yield entry
    for link in profile.links:
        yield from (e for e in _entries(link, f"link.{link.label}") if e.scope)


def _entries(table: msgspec.Struct, path: str) -> Iterator[Entry]:
    hints = hint(type(table))
    for field in msgspec.structs.fields(table):
        held = getattr(table, field.name)
        if is_value(hints[field.encode_name].type):
            yield Entry(f"{path}.{field.encode_name}", held)
        elif isinstance(held, tuple):
            for item in held:
                if isinstance(item, msgspec.Struct):
                    label = getattr(item, "label", "")
                    yield from _entries(item, f"{path}.{field.encode_name}.{label}")

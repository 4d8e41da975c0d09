"""Writes what was measured into a profile that is there already."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from slfac.wire.errors import SettingsError

if TYPE_CHECKING:
    from slfac.hw_profiles import Profile

_MOST_TEXT = 900


class Interval(Protocol):
    """A value with its 95 % interval, where that is known."""

    @property
    def value(self) -> float:
        """The value."""

    @property
    def low(self) -> float | None:
        """The interval's lower end."""

    @property
    def high(self) -> float | None:
        """Its upper end."""


def load_own_profile(path: Path) -> Profile:
    """Read a profile that will be written, and find out first whether it can be.

    Args:
        path: Its file.

    Raises:
        SettingsError: There is none, something is wrong with it, or it cannot be replaced.
    """
    from slfac.hw_profiles import load_profile

    if not path.is_file():
        raise SettingsError(
            f"--profile is {str(path)!r}, and there is no such file",
            f"`slfac profile run --out {path}` makes one",
        )
    profile = load_profile(path)
    if not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        raise SettingsError(f"--profile {path} cannot be written", "let this user write there")
    return profile


def check_texts(values: dict[str, Any]) -> None:
    """Refuse a link's name or note that no profile may hold, before anything is measured.

    Args:
        values: What was given.

    Raises:
        SettingsError: ``link`` or ``note`` is empty, too long, or holds control characters.
    """
    for name in ("link", "note"):
        text = values.get(name)
        if text is not None and (plain_text(text) != text or not text.strip()):
            raise SettingsError(
                f"--{name} is {text[:60]!r}",
                f"give 1 to {_MOST_TEXT} characters, none of which is a control character",
            )


def with_entry(profile: Profile, table: str, label: str, **fields: Any) -> Profile:
    """A profile with an entry changed, or added where there is none of that name.

    Args:
        profile: The profile.
        table: ``links`` or ``sensors``.
        label: Which entry of it.
        **fields: What it is to hold; the rest of it stays.
    """
    import msgspec

    from slfac.hw_profiles.schema import Link, Sensor

    entries: tuple[Any, ...] = getattr(profile, table)
    if label in (entry.label for entry in entries):
        changed = tuple(
            msgspec.structs.replace(entry, **fields) if entry.label == label else entry
            for entry in entries
        )
    elif table == "links":
        changed = (*entries, Link(name=label, **fields))
    else:
        changed = (*entries, Sensor(driver=label, **fields))
    updates: dict[str, Any] = {table: changed}
    return msgspec.structs.replace(profile, **updates)


def figure_fields(figure: Interval, **fields: Any) -> dict[str, Any]:
    """Fields of a figure for a profile, of today, with six digits that count.

    Args:
        figure: Value and interval.
        **fields: ``kind``, ``source`` and what else it is to hold; texts are made to fit.
    """
    shown = {k: plain_text(v) if isinstance(v, str) else v for k, v in fields.items()}
    return {
        "value": _six(figure.value),
        "low": None if figure.low is None else _six(figure.low),
        "high": None if figure.high is None else _six(figure.high),
        "date": today(),
        **shown,
    }


def today() -> str:
    """The date in UTC, as profiles have it."""
    return datetime.now(timezone.utc).date().isoformat()


def plain_text(text: str) -> str:
    """A text that a profile may hold.

    Args:
        text: Any.
    """
    shown = "".join(c if c.isprintable() else "?" for c in text)
    return shown if len(shown) <= _MOST_TEXT else f"{shown[: _MOST_TEXT - 3]}..."


def _six(number: float) -> float:
    return float(f"{number:.6g}")

"""Writes profiles as TOML that reads back equal."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from slfac.hw_profiles.check import profile_faults
from slfac.hw_profiles.schema import Profile
from slfac.wire.errors import SettingsError


def write_profile(profile: Profile, path: Path) -> None:
    """Write a profile; a file that is there is replaced as a whole.

    Args:
        profile: The profile; fields that are unknown are left out.
        path: Where.

    Raises:
        SettingsError: Something is wrong with the profile, so that it could not be read back, or
            the file cannot be written.
    """
    text = profile_toml(profile)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        fresh = Path(name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(text)
            fresh.chmod(0o644)
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)
    except OSError as error:
        raise SettingsError(
            f"cannot write {path}: {error.strerror}", "name a file in a folder that can be written"
        ) from error


def profile_toml(profile: Profile) -> str:
    """A profile as TOML.

    Args:
        profile: The profile.

    Raises:
        SettingsError: Something is wrong with it.
    """
    document = msgspec.to_builtins(profile)
    faults = profile_faults(document)
    if faults:
        raise SettingsError(
            f"the profile cannot be written: {faults[0].field or 'it'} {faults[0].what}",
            faults[0].remedy,
        )
    return "\n".join(_table(document, "")).lstrip("\n") + "\n"


def _table(table: dict[str, Any], path: str) -> Iterator[str]:
    """Lines of a table: its own fields, then its tables, then its lists of tables."""
    before = f"{path}." if path else ""
    tables, lists = {}, {}
    for key, held in table.items():
        if isinstance(held, dict) and "value" not in held:
            tables[key] = held
        elif isinstance(held, list | tuple) and held and isinstance(held[0], dict):
            lists[key] = held
        else:
            yield f"{_key(key)} = {_inline(held)}"
    for key, held in tables.items():
        yield f"\n[{before}{_key(key)}]"
        yield from _table(held, f"{before}{_key(key)}")
    for key, items in lists.items():
        for item in items:
            yield f"\n[[{before}{_key(key)}]]"
            yield from _table(item, f"{before}{_key(key)}")


def _key(key: str) -> str:
    plain = key.isascii() and key.replace("_", "").replace("-", "").isalnum()
    return key if plain else _text(key)


def _inline(held: Any) -> str:
    if isinstance(held, dict):
        return f"{{ {', '.join(f'{_key(k)} = {_inline(v)}' for k, v in held.items())} }}"
    if isinstance(held, list | tuple):
        return f"[{', '.join(map(_inline, held))}]"
    if isinstance(held, bool):
        return str(held).lower()
    if isinstance(held, float):
        return str(int(held)) if held == int(held) and abs(held) < 1e15 else repr(held)
    return _text(held) if isinstance(held, str) else str(held)


def _text(text: str) -> str:
    """A text that holds no control characters, in quotes."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'

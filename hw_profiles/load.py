"""Finds and reads profiles."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

from slfac.hw_profiles.check import Fault, decoded, profile_faults
from slfac.hw_profiles.schema import Profile
from slfac.wire.errors import SettingsError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_BOARDS: Final = Path(__file__).parent / "boards"
_REFERENCE: Final = Path(__file__).parent / "reference"
_MAX_BYTES: Final = 256 * 1024
# A key of n parts costs a TOML parser n * n bytes and more, and a line holds whole keys.
_MAX_DOTS: Final = 100
_REMEDY: Final = "docs/profiles.md says how a profile is written"


def profile_names() -> tuple[str, ...]:
    """Names of the boards that slfac brings a profile of, sorted."""
    return tuple(sorted(path.stem for path in _BOARDS.glob("*.toml")))


def load_profile(name_or_path: str | Path) -> Profile:
    """Read a profile.

    Args:
        name_or_path: One of :func:`profile_names`, or a file: a path, or a text with a ``/`` in
            it or ``.toml`` at its end.

    Returns:
        The profile.

    Raises:
        SettingsError: There is no such profile, the file cannot be read, or something is wrong
            with it; the first fault is named.
    """
    path = profile_path(name_or_path)
    document = _read(path)
    faults = profile_faults(document)
    if faults:
        first = faults[0]
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        field = first.field or "the profile"
        raise SettingsError(f"{path}: {field} {first.what}{more}", first.remedy)
    return decoded(document)


def load_reference() -> Profile | None:
    """Read the profile of the machine from which is carried over what a board's own lacks.

    Returns:
        The profile, which slfac's developers measured; None if there is none.
    """
    paths = sorted(_REFERENCE.glob("*.toml"))
    return load_profile(paths[0]) if paths else None


def check_profile(name_or_path: str | Path) -> list[Fault]:
    """What is wrong with a profile.

    Args:
        name_or_path: As of :func:`load_profile`.

    Returns:
        Every fault; none if :func:`load_profile` reads it.

    Raises:
        SettingsError: There is no such profile, or it cannot be read or is no TOML.
    """
    return profile_faults(_read(profile_path(name_or_path)))


def profile_path(name_or_path: str | Path) -> Path:
    """The file of a profile.

    Args:
        name_or_path: As of :func:`load_profile`.

    Raises:
        SettingsError: It is no name of a profile, and no path.
    """
    if isinstance(name_or_path, Path):
        return name_or_path
    if name_or_path in profile_names():
        return _BOARDS / f"{name_or_path}.toml"
    if "/" in name_or_path or name_or_path.endswith(".toml"):
        return Path(name_or_path)
    raise SettingsError(
        f"there is no profile {name_or_path!r}",
        f"name one of {', '.join(profile_names())}, or a file such as ./board.toml",
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as stream:
            data = stream.read(_MAX_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}", _REMEDY) from error
    except ValueError as error:  # a path with a zero in it
        raise SettingsError(f"cannot read {str(path)!r}: {error}", _REMEDY) from error
    if len(data) > _MAX_BYTES:
        raise SettingsError(f"{path} has more than {_MAX_BYTES} bytes", _REMEDY)
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.count(b".") > _MAX_DOTS:
            raise SettingsError(
                f"{path}: line {number} has more than {_MAX_DOTS} dots", "break it up"
            )
    try:
        return tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{path} is no TOML: {error}", _REMEDY) from error

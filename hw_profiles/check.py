"""Lists everything that is wrong with a profile, not only the first thing."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import msgspec

from slfac.hw_profiles.rules import profile_rules
from slfac.hw_profiles.schema import Profile
from slfac.hw_profiles.shape import Shape, hint, inner, is_table, is_value, literal_values
from slfac.hw_profiles.units import unit_of
from slfac.hw_profiles.values import Power

MOST_FAULTS: Final = 100
_MOST_TEXT = 1000
_MOST_ITEMS = 1000
_MOST_COUNT = 1_000_000_000
_MOST_BOARD_W = 1000.0  # what slfac.device.energy takes for a fault as well
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9+._-]{0,63}")
_DATE: Final = re.compile(r"20\d\d(-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01]))?)?")
_HELP = "docs/profiles.md says what is allowed"


@dataclass(frozen=True)
class Fault:
    """Something that is wrong with a profile.

    Attributes:
        field: Which field, such as ``mode[0].idle_w.value``; empty for the whole.
        what: What is wrong with it, and its value.
        remedy: What to do about it.
    """

    field: str
    what: str
    remedy: str

    def __str__(self) -> str:
        """One line."""
        return f"{self.field or 'the profile'} {self.what}; {self.remedy}"


def profile_faults(document: Any) -> list[Fault]:
    """What is wrong with a profile.

    Args:
        document: What a TOML parser makes of its file.

    Returns:
        The faults, at most ``MOST_FAULTS``.
    """
    found = list(islice(_table(Profile, document, ""), MOST_FAULTS))
    if not found:
        rules = profile_rules(decoded(document))
        found = [Fault(*fault) for fault in islice(rules, MOST_FAULTS)]
    return found


def decoded(document: Any) -> Profile:
    """Make a profile of a document without faults.

    Args:
        document: What :func:`profile_faults` finds nothing wrong with.
    """
    return msgspec.convert(_known(Profile, document), Profile)


def _known(shape: Shape, data: Any) -> Any:
    """The document without values that it says to be unknown."""
    if isinstance(data, list | tuple):
        return [_known(inner(shape), item) for item in data]
    if not is_table(shape):
        return data
    types = hint(shape)
    kept = {k: v for k, v in data.items() if not (is_value(types[k].type) and v == {})}
    return {k: _known(types[k].type, v) for k, v in kept.items()}


def _check(shape: Shape, data: Any, path: str) -> Iterator[Fault]:
    if is_value(shape) and data == {}:
        return  # unknown, and said so
    if is_table(shape):
        yield from _table(shape, data, path)
    elif isinstance(data, list | tuple) and inner(shape) is not None:
        if len(data) > _MOST_ITEMS:
            yield Fault(path, f"has {len(data)} entries", f"at most {_MOST_ITEMS} are allowed")
            return
        for number, item in enumerate(data):
            yield from _check(inner(shape), item, f"{path}[{number}]")
    else:
        yield from _leaf(shape, data, path)


def _table(shape: Shape, data: Any, path: str) -> Iterator[Fault]:
    if not isinstance(data, dict):
        example = '{ value = 2.7, kind = "measured", source = "...", scope = "board" }'
        if not is_value(shape):
            yield Fault(path, f"is {_said(data)}, not a table", _HELP)
        else:
            example = example if shape is Power else example.replace(', scope = "board"', "")
            yield Fault(path, f"is {_said(data)}, without a source", f"write {example}")
        return
    types = hint(shape)
    before = f"{path}." if path else ""
    for key, value in data.items():
        if key in types:
            yield from _check(types[key].type, value, f"{before}{key}")
        else:
            yield Fault(f"{before}{_cut(key)}", "is unknown", _remedy(str(key), shape, types))
    for key, field in types.items():
        if field.required and key not in data:
            yield Fault(f"{before}{key}", "is missing", _why(key))
    if is_value(shape):
        yield from _figure(shape, data, path)


def _remedy(key: str, shape: Shape, types: dict[str, Any]) -> str:
    if key in ("unit", "units") and is_value(shape):
        return "the unit is the suffix of the field: give the figure in that unit"
    stem = key.rpartition("_")[0]
    same = [name for name in types if stem and name.rpartition("_")[0] == stem]
    if same:
        return f"in its unit it is called {same[0]}"
    return f"there is {', '.join(types)}"


def _why(key: str) -> str:
    if key == "source":
        return "say where the figure comes from, so that a reader can find it"
    if key == "scope":
        return "say what draws it: soc, module, board, wall, or unknown"
    return f"give it; {_HELP}"


def _leaf(shape: Shape, data: Any, path: str) -> Iterator[Fault]:
    allowed = literal_values(shape)
    if allowed:
        if not isinstance(data, str) or data not in allowed:
            yield Fault(path, f"is {_said(data)}", f"it is one of {', '.join(allowed)}")
    elif shape is str:
        yield from _text(data, path)
    elif shape in _SCALARS:
        fits, remedy = _SCALARS[shape]
        if not fits(data):
            yield Fault(path, f"is {_said(data)}", remedy)
    elif inner(shape) is None and isinstance(data, dict):  # a table of texts
        for key, value in data.items():
            yield from _text(key, path)
            yield from _text(value, f"{path}.{_cut(key)}")
    else:
        yield Fault(path, f"is {_said(data)}, of the wrong type", _HELP)


def _text(data: Any, path: str) -> Iterator[Fault]:
    if not isinstance(data, str):
        yield Fault(path, f"is {_said(data)}", "give a text in quotes")
    elif len(data) > _MOST_TEXT:
        yield Fault(path, f"has {len(data)} characters", f"give at most {_MOST_TEXT}")
    elif not data.isprintable():
        yield Fault(path, f"is {_said(data)}", "control characters are not allowed")
    elif path.endswith(("source", "name", "driver")) and not data.strip():
        yield Fault(path, "is empty", _why(path.rpartition(".")[2]))
    elif path == "board.name" and not _NAME.fullmatch(data):
        yield Fault(path, f"is {_said(data)}", "use a-z, 0-9 and . + _ - only, at most 64")
    elif path.endswith("date") and data and not _DATE.fullmatch(data):
        yield Fault(path, f"is {_said(data)}", "write 2026, 2026-04 or 2026-04-30, in quotes")


def _figure(shape: Shape, data: dict[str, Any], path: str) -> Iterator[Fault]:
    """What is wrong with the numbers of a value, whose unit the path's end tells."""
    unit = unit_of(path)
    most = unit.most
    if shape is Power and data.get("scope") != "wall":
        most = min(most, _MOST_BOARD_W)
    numbers = {k: data[k] for k in ("value", "low", "high") if _is_number(data.get(k))}
    for key, number in numbers.items():
        if not abs(number) <= most:  # a NaN as well
            remedy = f"give {unit.name or 'a number'} up to {most:g}: is it in another unit?"
            yield Fault(f"{path}.{key}", f"is {_said(number)}", remedy)
        elif number < 0 and not (unit.signed or key == "low"):
            yield Fault(f"{path}.{key}", f"is {_said(number)}", "it cannot be below zero")
        elif number == 0 and unit.positive and key == "value":
            yield Fault(f"{path}.{key}", "is 0", "leave it out where it is not known")
        elif unit.whole and number != int(number):
            yield Fault(f"{path}.{key}", f"is {_said(number)}", "give a whole number")
    if ("low" in data) != ("high" in data):
        yield Fault(path, "has one end of an interval", "give low and high, or neither")
    elif len(numbers) == 3 and not numbers["low"] <= numbers["value"] <= numbers["high"]:
        said = f"lies outside of its interval, {numbers['low']:g} to {numbers['high']:g}"
        yield Fault(f"{path}.value", f"is {numbers['value']:g} and {said}", "look at all three")
    if data.get("runs") == 0:
        yield Fault(f"{path}.runs", "is 0", "leave it out where it is not known")


def _is_number(data: Any) -> bool:
    return isinstance(data, int | float) and not isinstance(data, bool)


def _is_count(data: Any) -> bool:
    return _is_number(data) and isinstance(data, int) and 0 <= data <= _MOST_COUNT


def _is_bool(data: Any) -> bool:
    return isinstance(data, bool)


_SCALARS: Final[dict[Shape, tuple[Callable[[Any], bool], str]]] = {
    # The rest is checked with the unit, by _figure.
    float: (_is_number, "give a number; the suffix of the field is its unit"),
    int: (_is_count, f"give a whole number, 0 to {_MOST_COUNT}"),
    bool: (_is_bool, "give true or false"),
}


def _said(data: Any) -> str:
    """A value as a message shows it: short, on one line, and however deep it is."""
    if isinstance(data, dict | list | tuple):
        return "a table" if isinstance(data, dict) else "a list"
    if isinstance(data, int) and abs(data) >= 10**20:
        return "a huge number"
    if isinstance(data, float) and not math.isfinite(data):
        return "no finite number"
    return repr(_cut(data)) if isinstance(data, str) else _cut(data)


def _cut(data: Any) -> str:
    text = str(data)
    text = text if len(text) <= 60 else f"{text[:57]}..."
    return text if text.isprintable() else ascii(text)[1:-1]

"""The tables of docs/profiles.md, made from the schema and from the profiles.

``python -m harness.profile_page`` writes them into the page; a test of tests/contract holds the
page to them.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from slfac.hw_profiles import Profile, Value, load_profile, profile_entries, profile_names, unit_of
from slfac.hw_profiles.shape import hint, inner, is_table, is_value, literal_values
from slfac.hw_profiles.values import Power

PAGE = Path(__file__).parents[2] / "docs" / "profiles.md"
_BLOCK = "<!-- {name}: made by python -m harness.profile_page -->\n{text}\n<!-- end of {name} -->"


def with_tables(page: str) -> str:
    """The page with its tables made anew."""
    for name, rows in (("fields", fields()), ("boards", boards()), ("figures", figures())):
        pattern = rf"<!-- {name}: .*?<!-- end of {name} -->"
        block = _BLOCK.format(name=name, text="\n".join(rows))
        page, count = re.subn(pattern, lambda _, block=block: block, page, flags=re.DOTALL)
        assert count == 1, name
    return page


def fields() -> Iterator[str]:
    """A row for each field that a file may have."""
    yield "| Field | What it holds | Meaning |"
    yield "|---|---|---|"
    yield from _fields(Profile, "")
    yield from _fields(Value, "FIGURE.")
    (scope,) = (row for row in _fields(Power, "POWER.") if "scope" in row.split("|")[1])
    yield scope


def _fields(table: Any, path: str) -> Iterator[str]:
    meanings = {**inherited(table), **dict(attributes(table))}
    names = {field.encode_name: field.name for field in msgspec.structs.fields(table)}
    for key, field in hint(table).items():
        meaning = meanings[names[key]]
        needed = " **Required.**" if field.required else ""
        shape = field.type
        item = inner(shape)
        mark = "[]" if item is not None and is_table(item) else ""
        yield f"| `{path}{key}{mark}` | {_held(key, shape)} | {meaning}{needed} |"
        for deeper in (shape, item):
            if is_table(deeper) and not is_value(deeper):
                yield from _fields(deeper, f"{path}{key}{mark}.")


def inherited(table: Any) -> dict[str, str]:
    """What the fields mean that a struct has from the one above it."""
    return dict(attributes(Value)) if issubclass(table, Value) else {}


def attributes(table: Any) -> Iterator[tuple[str, str]]:
    """The names and meanings in a struct's docstring."""
    # Python 3.13 takes the indentation off itself.
    section = inspect.cleandoc(table.__doc__).partition("Attributes:\n")[2]
    for name, text in re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", section, re.MULTILINE):
        said = " ".join(text.split()).replace("``", "`").replace("10**", "10^")
        yield name, said.replace("None where", "left out where").replace("|", "\\|")


def _held(key: str, shape: Any) -> str:
    if is_value(shape):
        power = ", with scope" if shape is Power else ""
        return f"{unit_of(key).name or 'number'}{power}"
    if literal_values(shape):
        return ", ".join(f"`{each}`" for each in literal_values(shape))
    item = inner(shape)
    if item is not None:
        return "tables" if is_table(item) else "list of texts"
    if is_table(shape):
        return "table"
    named = {str: "text", int: "whole number", float: "number", bool: "true or false"}
    return named.get(shape, "table of texts")


def boards() -> Iterator[str]:
    """A row for each board with what is mostly asked for."""
    columns = ("Name", "Board", "Cores", "Memory MiB", "memcpy GB/s", "HPL GFLOP/s")
    yield f"| {' | '.join((*columns, 'Idle W', 'Active W', 'Sensor'))} |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for name in profile_names():
        profile = load_profile(name)
        hardware, modes = profile.hardware, profile.modes
        hpl = [c.gflops for mode in modes for c in mode.compute if c.workload == "hpl"]
        cells = (
            f"`{name}`",
            profile.board.title,
            _cell(hardware.cores),
            _cell(hardware.memory_mib),
            _cell(hardware.memcpy_gbs),
            _cell(*hpl),
            _cell(*(mode.idle_w for mode in modes)),
            _cell(*(mode.active_w for mode in modes)),
            ", ".join(f"`{s.driver}`, {s.scope}" for s in profile.sensors) or "none",
        )
        yield f"| {' | '.join(cells)} |"


def _cell(*values: Value | None) -> str:
    known = [value for value in values if value is not None]
    return ", ".join(f"{value.value:g}{_scope(value)}" for value in known) or "?"


def _scope(value: Value) -> str:
    if not isinstance(value, Power):
        return ""
    return " (?)" if value.scope == "unknown" else f" ({value.scope})"


def figures() -> Iterator[str]:
    """A row for each figure of each board."""
    yield "| Board | Field | Figure | Kind | Source |"
    yield "|---|---|---|---|---|"
    for name in profile_names():
        for entry in profile_entries(load_profile(name)):
            value = entry.value
            if value is None:
                continue
            interval = "" if value.low is None else f" ({value.low:g} to {value.high:g})"
            figure = f"{value.value:g}{interval} {entry.unit}".strip() + _scope(value)
            source = ", ".join(filter(None, (value.source, value.date)))
            source += f" ({value.note})" if value.note else ""
            yield f"| `{name}` | `{entry.field}` | {figure} | {value.kind} | {source} |"


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text("utf-8")), "utf-8")

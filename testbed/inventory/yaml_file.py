"""Reads a YAML file as plain values, and knows in which line each stands.

Of YAML, only what a settings file needs: mappings, lists and scalars of the core schema of YAML
1.2, so that ``no`` is a name and ``1:30`` a text. Aliases, tags and several documents are refused:
nothing in a file can grow beyond what stands there, or name a type to be made.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from yaml.composer import Composer
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner

from slfac.wire.errors import SettingsError

Place = tuple[str | int, ...]
_MAX_BYTES: Final = 256 * 1024
_MAX_DEPTH: Final = 12
_MAX_NODES: Final = 20_000
_MAX_DIGITS: Final = 30
_SPECIAL: Final = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER: Final = re.compile(r"[-+]?[0-9]+", re.ASCII)
_NUMBER: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII)


@dataclass(frozen=True)
class Document:
    """What a file holds.

    Attributes:
        file: The file.
        values: Its top level.
        lines: Line, from 1, of each key's value and each list's item, by its place: the keys and
            indices that lead there.
    """

    file: Path
    values: dict[str, Any]
    lines: dict[Place, int]

    def at(self, place: Place) -> str:
        """File and line of a place, or of the nearest above it that stands in the file.

        Args:
            place: The keys and indices that lead there.
        """
        for length in range(len(place), 0, -1):
            if place[:length] in self.lines:
                return f"{self.file}:{self.lines[place[:length]]}"
        return str(self.file)


def read_yaml(file: Path, *, remedy: str) -> Document:
    """Read a YAML file whose top level is a mapping.

    Args:
        file: The file.
        remedy: Where to see what such a file holds.

    Returns:
        Its values and their lines.

    Raises:
        SettingsError: It cannot be read, is no YAML, is too large or too deep, or holds a key
            twice, an alias or a tag; the line is named.
    """
    try:
        with file.open("rb") as stream:
            data = stream.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise SettingsError(f"cannot read {file}: {why}", remedy) from error
    if len(data) > _MAX_BYTES:
        raise SettingsError(f"{file} has more than {_MAX_BYTES} bytes", remedy)
    return parse_yaml(data, file, remedy=remedy)


def parse_yaml(data: bytes, file: Path, *, remedy: str) -> Document:
    """Read the text of a YAML file whose top level is a mapping.

    Args:
        data: The text, UTF-8.
        file: What to call it in errors.
        remedy: Where to see what such a file holds.

    Returns:
        Its values and their lines.

    Raises:
        SettingsError: As of :func:`read_yaml`.
    """
    try:
        text = data.decode("utf-8-sig")
        _check_events(text, file)
        root = _Loader(text).get_single_node()
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise SettingsError(f"{file}:{line}: this is no UTF-8", remedy) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f":{mark.line + 1}" if mark is not None else ""
        raise SettingsError(f"{file}{where}: this is no YAML: {error.problem}", remedy) from error
    except yaml.YAMLError as error:
        raise SettingsError(f"{file} is no YAML: {error}", remedy) from error
    if not isinstance(root, yaml.MappingNode):
        raise SettingsError(f"{file} holds no settings", remedy)
    lines: dict[Place, int] = {}
    values: dict[str, Any] = _plain(root, (), lines, file)
    return Document(file=file, values=values, lines=lines)


class _Loader(Reader, Scanner, Parser, Composer, BaseResolver):
    """Makes nodes of a text; it resolves no types, and has nothing that makes objects."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        BaseResolver.__init__(self)


def _check_events(text: str, file: Path) -> None:
    """Refuse what is not allowed before anything is made of it."""
    depth = 0
    for number, event in enumerate(_events(text)):
        line = event.start_mark.line + 1
        if number > _MAX_NODES:
            raise SettingsError(f"{file} holds more than {_MAX_NODES} values", "make it smaller")
        if getattr(event, "anchor", None) is not None:
            what = "an alias" if isinstance(event, yaml.AliasEvent) else "an anchor"
            raise SettingsError(f"{file}:{line}: {what} stands here", "write the value itself")
        if getattr(event, "tag", None) is not None:
            raise SettingsError(f"{file}:{line}: the tag {event.tag} stands here", "leave it out")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:
            what = f"{file}:{line}: more than {_MAX_DEPTH} levels are nested here"
            raise SettingsError(what, "write it flatter")


def _events(text: str) -> Iterator[Any]:
    loader = _Loader(text)
    while loader.check_event():
        yield loader.get_event()  # type: ignore[no-untyped-call]


def _plain(node: yaml.Node, place: Place, lines: dict[Place, int], file: Path) -> Any:
    # A mapping's own line is that of its first key; the line of its name is of more use.
    lines.setdefault(place, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*place, n), lines, file) for n, item in enumerate(node.value)]
    if isinstance(node, yaml.ScalarNode):
        return node.value if node.style else _scalar(node.value)
    values: dict[str, Any] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise SettingsError(f"{file}:{line}: a list or mapping stands here as a key", "name it")
        if key.value in values:
            raise SettingsError(f"{file}:{line}: {key.value} stands here again", "give it once")
        inner = (*place, key.value)
        lines[inner] = line
        values[key.value] = _plain(value, inner, lines, file)
    return values


def _scalar(text: str) -> Any:
    if text in _SPECIAL:
        return _SPECIAL[text]
    if len(text) <= _MAX_DIGITS:
        if _INTEGER.fullmatch(text):
            return int(text)
        if _NUMBER.fullmatch(text):
            return float(text)
    return text

"""Block maps as bmaptool writes them: which parts of an image hold something."""

from __future__ import annotations

import hashlib
import itertools
import re
from dataclasses import dataclass
from pathlib import Path
from xml.parsers import expat

from slfac.wire.errors import ImageError

_MOST_BYTES = 16 << 20
_RANGE = re.compile(r"(\d{1,12})(?:-(\d{1,12}))?")
_NUMBER = re.compile(r"\d{1,18}")


@dataclass(frozen=True)
class Extent:
    """A part of an image that holds something.

    Attributes:
        begin: Its first byte.
        end: The byte after its last.
        sha256: Of what it holds.
    """

    begin: int
    end: int
    sha256: str


@dataclass(frozen=True)
class BlockMap:
    """Which parts of an image hold something.

    Attributes:
        size_bytes: Size of the image.
        extents: Those parts, sorted and disjoint.
    """

    size_bytes: int
    extents: tuple[Extent, ...]


def read_block_map(path: Path) -> BlockMap | None:
    """Read a block map of version 2.

    Args:
        path: The file.

    Returns:
        What it says; None where there is no such file.

    Raises:
        ImageError: It cannot be read, or does not say what it must.
    """
    try:
        data = path.read_bytes() if path.stat().st_size <= _MOST_BYTES else b""
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ImageError(
            f"cannot read {path}: {error.strerror}", "check the path, and who may read it"
        ) from error
    try:
        return _parsed(data)
    except (expat.ExpatError, ValueError) as error:
        raise ImageError(
            f"{path} is no block map: {error}", "delete it, or fetch it again"
        ) from error


class _Reader:
    """Collects the few elements of a block map that matter, as texts."""

    def __init__(self) -> None:
        self.version = ""
        self.texts: dict[str, str] = {}
        self.ranges: list[tuple[str, str]] = []
        self._open: list[str] = []
        self._text = ""
        self._checksum = ""

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """An element begins."""
        if not self._open:
            self.version = attributes.get("version", "")
        self._open.append(name)
        self._text = ""
        self._checksum = attributes.get("chksum", "")

    def end(self, name: str) -> None:
        """An element ends."""
        self._open.pop()
        text, self._text = self._text.strip(), ""
        if name == "Range":
            self.ranges.append((text, self._checksum))
        else:
            self.texts[name] = text

    def characters(self, text: str) -> None:
        """Text of the present element."""
        self._text += text


def _refuse_entity(*_: object) -> None:
    # One that holds others ten times over, ten times over, fills the memory.
    raise ValueError("it defines entities")


def _parsed(data: bytes) -> BlockMap:
    reader, parser = _Reader(), expat.ParserCreate()
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.characters
    parser.EntityDeclHandler = _refuse_entity
    parser.Parse(data, True)
    if not reader.version.startswith("2."):
        raise ValueError(f"its version is {reader.version!r}, not 2")
    _check_itself(data, reader.texts)
    if reader.texts.get("ChecksumType") != "sha256":
        raise ValueError("its checksums are not sha256")
    size, block = _number(reader, "ImageSize"), _number(reader, "BlockSize")
    if not size or not block:
        raise ValueError("the image or its blocks have no size")
    extents = tuple(_extent(text, chksum, block, size) for text, chksum in reader.ranges)
    for one, after in itertools.pairwise(extents):
        if one.end > after.begin:
            raise ValueError(f"the range at byte {after.begin} begins before the last one ends")
    return BlockMap(size, extents)


def _check_itself(data: bytes, texts: dict[str, str]) -> None:
    """Compare the map's own checksum, which is that of the file with zeros in its place."""
    told = texts.get("BmapFileChecksum", "")
    own = data.replace(told.encode(), b"0" * len(told), 1) if told else data
    if hashlib.sha256(own).hexdigest() != told:
        raise ValueError("its own checksum is another")


def _number(reader: _Reader, name: str) -> int:
    text = reader.texts.get(name, "")
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{name} is {text[:20]!r}")
    return int(text)


def _extent(text: str, checksum: str, block: int, size: int) -> Extent:
    match = _RANGE.fullmatch(text)
    if match is None or not re.fullmatch(r"[0-9a-f]{64}", checksum):
        raise ValueError(f"the range {text[:40]!r} cannot be read")
    first, last = int(match[1]), int(match[2] or match[1])
    begin, end = first * block, min((last + 1) * block, size)
    if first > last or begin >= size or last * block >= size:
        raise ValueError(f"the range {text[:40]!r} is not within the image")
    return Extent(begin, end, checksum)

"""Looks into a Debian package on a board, with nothing but Python's standard library."""

from __future__ import annotations

import io
import lzma
import os
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from slfac.device.image.update.versions import MANIFEST, is_inside
from slfac.wire.errors import UpdateError

#: The package's name, and where in it the version is.
PACKAGE = "slfac-device"
PAYLOAD = "./usr/lib/slfac/layer/"
_MAGIC = b"!<arch>\n"
_HEAD_BYTES = 60
_MOST_CONTROL_BYTES = 1 << 20
# Ten times what a version has.
_MOST_BYTES = 2 << 30
_MOST_FILES = 50_000
_REMEDY = "fetch or build it again: slfac image deb"
_DAMAGED = (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, ValueError)


class _Member(NamedTuple):
    """Where a member of the package lies in its file."""

    name: str
    start: int
    size_bytes: int


def control_fields(package: Path) -> dict[str, str]:
    """What a package says of itself; continued lines are left out.

    Args:
        package: Its file.

    Raises:
        UpdateError: It is none, or is damaged.
    """
    with _archive(package, "control") as archive:
        for told in archive:
            if told.name.removeprefix("./") == "control" and told.size <= _MOST_CONTROL_BYTES:
                text = _stream_of(archive, told).read().decode("utf-8", "replace")
                pairs = (line.partition(": ") for line in text.splitlines())
                return {name: value for name, _, value in pairs if not name.startswith(" ")}
    raise UpdateError(f"{package} says nothing of itself", _REMEDY)


def require_device_package(package: Path) -> str:
    """Refuse other packages.

    Args:
        package: Its file.

    Returns:
        Its version, as Debian numbers it.

    Raises:
        UpdateError: It is another one, for another processor, or damaged.
    """
    fields = control_fields(package)
    name, machine = fields.get("Package", ""), fields.get("Architecture", "")
    if name != PACKAGE:
        raise UpdateError(f"{package} is a package of {name!r}, not {PACKAGE}", _REMEDY)
    if machine != "arm64":
        raise UpdateError(f"{package} is for {machine!r}, not arm64", _REMEDY)
    return fields.get("Version", "")


def unpack_version(package: Path, folder: Path) -> None:
    """Take the version out of a package. All of the package is read, which shows cuts.

    Args:
        package: Its file.
        folder: Where to put the version; made.

    Raises:
        UpdateError: The package is damaged or too large, or there is no room.
    """
    files = total = 0
    folder.mkdir(mode=0o755)
    with _archive(package, "data") as archive:
        for told in archive:
            path = told.name.removeprefix(PAYLOAD)
            if path == told.name or told.isdir():
                continue
            files, total = files + 1, total + told.size
            if not told.isreg() or not (is_inside(path) or path == MANIFEST):
                raise UpdateError(f"{package}: {told.name!r} cannot be right", _REMEDY)
            if total > _MOST_BYTES or files > _MOST_FILES:
                raise UpdateError(f"{package} holds more than a version can", _REMEDY)
            _write(folder / path, _stream_of(archive, told), 0o755 if told.mode & 0o100 else 0o644)


def _write(target: Path, source: IO[bytes], mode: int) -> None:
    try:
        target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        with target.open("xb") as stream:
            while piece := source.read(1 << 20):
                stream.write(piece)
        target.chmod(mode)
    except OSError as error:
        raise UpdateError(f"cannot write {target}: {error.strerror}", "make room") from error


def _stream_of(archive: tarfile.TarFile, told: tarfile.TarInfo) -> IO[bytes]:
    return archive.extractfile(told) or io.BytesIO()


@contextmanager
def _archive(package: Path, name: str) -> Iterator[tarfile.TarFile]:
    """One of the two archives in a package."""
    try:
        with package.open("rb") as stream:
            member = _find(package, stream, name)
            part = io.BufferedReader(_Part(stream, member.start, member.size_bytes))
            with tarfile.open(fileobj=part, mode="r|*") as archive:
                yield archive
    except OSError as error:
        raise UpdateError(f"cannot read {package}: {error}", "check the path") from error
    except _DAMAGED as error:
        why = str(error) or type(error).__name__
        raise UpdateError(f"{package} is damaged: {why}", _REMEDY) from error


def _find(package: Path, stream: IO[bytes], name: str) -> _Member:
    if stream.read(len(_MAGIC)) != _MAGIC:
        raise UpdateError(f"{package} is no Debian package", _REMEDY)
    end = os.fstat(stream.fileno()).st_size
    found = None
    while (start := stream.tell() + _HEAD_BYTES) <= end:
        head = stream.read(_HEAD_BYTES)
        label, size = head[:16].decode("ascii", "replace").strip(), head[48:58].strip()
        if head[58:] != b"`\n" or not size.isdigit() or start + int(size) > end:
            raise UpdateError(f"{package} is cut short, or damaged", _REMEDY)
        if label.startswith(f"{name}.tar"):
            found = _Member(label, start, int(size))
        stream.seek(start + int(size) + int(size) % 2)
    if found is None:
        raise UpdateError(f"{package} is cut short: it has no {name}.tar", _REMEDY)
    return found


class _Part(io.RawIOBase):
    """Some of a file's bytes, as a file."""

    def __init__(self, stream: IO[bytes], start: int, size_bytes: int) -> None:
        self._stream = stream
        self._left = size_bytes
        stream.seek(start)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        piece = self._stream.read(min(len(buffer), self._left))
        buffer[: len(piece)] = piece
        self._left -= len(piece)
        return len(piece)

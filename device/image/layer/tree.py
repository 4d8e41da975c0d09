"""Files of a root file system that come out the same whoever makes them, and when."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

Kind = Literal["folder", "file", "link"]
_TAR_KINDS = {"folder": tarfile.DIRTYPE, "file": tarfile.REGTYPE, "link": tarfile.SYMTYPE}


@dataclass(frozen=True)
class Entry:
    """Something in a root file system; it belongs to root.

    Attributes:
        kind: What it is.
        mode: Its permissions.
        data: What a file holds.
        target: Where a link points to.
    """

    kind: Kind
    mode: int
    data: bytes = b""
    target: str = ""


@dataclass
class Tree:
    """Files to be put into a root file system.

    Attributes:
        entries: By path, without a leading slash.
    """

    entries: dict[str, Entry] = field(default_factory=dict)

    def file(self, path: str, data: bytes | str, mode: int = 0o644) -> None:
        """Add a file, with the folders above it."""
        content = data.encode() if isinstance(data, str) else data
        self._put(path, Entry("file", mode, data=content))

    def link(self, path: str, target: str) -> None:
        """Add a symbolic link, with the folders above it."""
        self._put(path, Entry("link", 0o777, target=target))

    def folder(self, path: str, mode: int = 0o755) -> None:
        """Add a folder, with those above it."""
        self._put(path, Entry("folder", mode))

    def copy(self, path: str, source: Path) -> None:
        """Add a folder of this machine with all that is in it; who may run a file stays."""
        for found in sorted(source.rglob("*")):
            inside = f"{path}/{found.relative_to(source).as_posix()}"
            if found.is_symlink():
                self.link(inside, str(found.readlink()))
            elif found.is_dir():
                self.folder(inside)
            else:
                executable = found.stat().st_mode & 0o100
                self.file(inside, found.read_bytes(), 0o755 if executable else 0o644)

    def below(self, folder: str) -> Tree:
        """The same files in a folder."""
        tree = Tree()
        for path, entry in self.entries.items():
            tree._put(f"{folder}/{path}", entry)
        return tree

    def tar(self, time_s: int, prefix: str = "") -> bytes:
        """All of it as an archive.

        Args:
            time_s: When everything is said to have been made, in seconds since 1970.
            prefix: What paths begin with, such as ``./``.

        Returns:
            The archive's bytes; the same tree gives the same ones.
        """
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as archive:
            for path, entry in sorted(self.entries.items()):
                told = tarfile.TarInfo(prefix + path)
                told.type, told.mode, told.mtime = _TAR_KINDS[entry.kind], entry.mode, time_s
                told.size, told.linkname = len(entry.data), entry.target
                told.uname = told.gname = "root"
                archive.addfile(told, io.BytesIO(entry.data))
        return stream.getvalue()

    def write(self, root: Path) -> None:
        """Write all of it into a folder.

        Args:
            root: The folder, which takes the place of ``/``.
        """
        for path, entry in sorted(self.entries.items()):
            target = root / path
            if entry.kind == "folder":
                target.mkdir(exist_ok=True)
                target.chmod(entry.mode)
            elif entry.kind == "link":
                target.symlink_to(entry.target)
            else:
                target.write_bytes(entry.data)
                target.chmod(entry.mode)

    def _put(self, path: str, entry: Entry) -> None:
        for parent in _parents(path):
            self.entries.setdefault(parent, Entry("folder", 0o755))
        self.entries[path] = entry


def _parents(path: str) -> Iterator[str]:
    return (str(parent) for parent in PurePosixPath(path).parents if str(parent) != ".")

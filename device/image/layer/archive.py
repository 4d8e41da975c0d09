"""The edge layer as one file, and the shell that installs it: for systems that are not ours."""

from __future__ import annotations

import gzip
import hashlib
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from slfac.device.image.layer.edge import edge_tree, layer_version
from slfac.device.image.layer.tree import Tree

_INSTALL: Final = Path(__file__).with_name("install.sh")
_LEFT_OUT: Final = (
    "etc/systemd/system/multi-user.target.wants/slfac-growroot.service",
    # The installer switches to a release when everything else is there.
    "opt/slfac/current",
)
# What ext4 needs besides: ends of blocks, and folders.
_SPARE: Final = 1.15
_GZIP_SYSTEM: Final = 9


@dataclass(frozen=True)
class LayerArchive:
    """A layer as ``.tar.gz``, which every Debian and Ubuntu can unpack.

    Attributes:
        abi: Its Python, such as ``cp313``.
        version: What it is called.
        data: The archive.
        unpacked_bytes: What its files take.
    """

    abi: str
    version: str
    data: bytes
    unpacked_bytes: int

    @property
    def sha256(self) -> str:
        """Of the archive, in hexadecimal digits."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def needed_kb(self) -> int:
        """Room that installing it takes."""
        return int(self.unpacked_bytes * _SPARE) // 1024

    def values(self) -> dict[str, str]:
        """What a script must know of it."""
        return {
            "abi": self.abi,
            "version": self.version,
            "sha256": self.sha256,
            "needed_kb": str(self.needed_kb),
        }


def layer_archive(
    abi: str, wheel: Path | None, time_s: int, extra: Tree | None = None
) -> LayerArchive:
    """Make a layer for a system that somebody else has made.

    Args:
        abi: Its Python, such as ``cp313``.
        wheel: slfac's own wheel; None to build or fetch it.
        time_s: When everything is said to have been made, in seconds since 1970.
        extra: Files besides.

    Returns:
        The archive; the same arguments give the same bytes.

    Raises:
        ImageError: There is no such layer, or a wheel cannot be had.
    """
    tree = edge_tree(abi, wheel)
    tree.entries |= extra.entries if extra is not None else {}
    return pack_tree(tree, abi, layer_version(abi), time_s)


def pack_tree(tree: Tree, abi: str, version: str, time_s: int) -> LayerArchive:
    """Pack the files of a layer.

    Args:
        tree: Its files; what such a system does itself, letting its root grow, is left out.
        abi: Its Python.
        version: What it is called.
        time_s: When everything is said to have been made.
    """
    kept = Tree({path: entry for path, entry in tree.entries.items() if path not in _LEFT_OUT})
    unpacked = sum(-(-len(entry.data) // 4096) * 4096 for entry in kept.entries.values())
    data = bytearray(gzip.compress(kept.tar(time_s), 9, mtime=0))
    # Which system wrote it: Pythons before 3.11 say that they do not know.
    data[_GZIP_SYSTEM] = 255
    return LayerArchive(abi, version, bytes(data), unpacked)


def script(values: Mapping[str, str], *parts: Path) -> str:
    """A shell script with values before, and with the functions that install a layer.

    Args:
        values: Names of variables, and what they hold.
        parts: Files with what it does, in their order.
    """
    lines = [f"{name}={shlex.quote(value)}" for name, value in values.items()]
    texts = [path.read_text(encoding="utf-8") for path in (_INSTALL, *parts)]
    return "\n".join(["#!/bin/sh", "set -u", "umask 022", *lines, "", *texts])

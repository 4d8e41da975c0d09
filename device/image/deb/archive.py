"""Debian packages as bytes: an ``ar`` of two archives.

deb(5): https://manpages.debian.org/bookworm/dpkg-dev/deb.5.en.html. xz, as every dpkg in use reads
it, and so does Python's standard library, which looks into packages on a board.
"""

from __future__ import annotations

import hashlib
import lzma
from collections.abc import Mapping

from slfac.device.image.layer.tree import Tree

#: What every package begins with.
AR_MAGIC = b"!<arch>\n"
_SIZE_BLOCK_BYTES = 1024


def pack_deb(
    fields: Mapping[str, str],
    scripts: Mapping[str, bytes],
    tree: Tree,
    *,
    time_s: int,
    preset: int = 6,
) -> bytes:
    """Make a package.

    Args:
        fields: What ``control`` says; ``Installed-Size`` is added.
        scripts: What dpkg runs, by name, such as ``postinst``.
        tree: The files that are installed; they belong to root.
        time_s: When everything is said to have been made, in seconds since 1970.
        preset: How hard xz tries; boards need 9 MB to unpack what 6 makes, and 65 MB with 9.

    Returns:
        The package; the same files give the same bytes.
    """
    control = Tree()
    size = {"Installed-Size": str(_installed_kib(tree))}
    lines = [f"{name}: {value}\n" for name, value in {**fields, **size}.items()]
    control.file("control", "".join(lines))
    control.file("md5sums", _md5sums(tree))
    for name, script in scripts.items():
        control.file(name, script, 0o755)
    members = {
        "debian-binary": b"2.0\n",
        "control.tar.xz": _packed(control, time_s, preset),
        "data.tar.xz": _packed(tree, time_s, preset),
    }
    pieces = [_member(name, data, time_s) for name, data in members.items()]
    return AR_MAGIC + b"".join(pieces)


def _packed(tree: Tree, time_s: int, preset: int) -> bytes:
    return lzma.compress(tree.tar(time_s, "./"), check=lzma.CHECK_CRC32, preset=preset)


def _member(name: str, data: bytes, time_s: int) -> bytes:
    head = f"{name:<16}{time_s:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode("ascii")
    return head + data + b"\n" * (len(data) % 2)


def _installed_kib(tree: Tree) -> int:
    """As dpkg-gencontrol counts: each file in whole KiB, and one for everything else."""
    sizes = (len(entry.data) for entry in tree.entries.values())
    return sum(-(-size // _SIZE_BLOCK_BYTES) or 1 for size in sizes)


def _md5sums(tree: Tree) -> str:
    """What ``dpkg --verify`` compares; it protects against accidents only."""
    return "".join(
        f"{hashlib.md5(entry.data, usedforsecurity=False).hexdigest()}  {path}\n"
        for path, entry in sorted(tree.entries.items())
        if entry.kind == "file"
    )

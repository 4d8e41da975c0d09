"""What a version of slfac says of itself, by which a board knows it."""

from __future__ import annotations

import hashlib
import json
import re

from slfac.device.image.layer.tree import Tree
from slfac.device.image.layer.wheels import ABIS
from slfac.device.image.update.versions import MANIFEST, SCHEMA
from slfac.wire.errors import ImageError

_MACHINE = "aarch64"
_RELEASE = re.compile(r'^__version__ = "([^"]+)"$', re.MULTILINE)


def pack_manifest(tree: Tree, abi: str, version: str) -> bytes:
    """Describe a version.

    Args:
        tree: Its files, below its own folder.
        abi: Its Python, such as ``cp313``.
        version: What it is called.

    Returns:
        What to write beside the files.

    Raises:
        ImageError: It holds a link, or no slfac.
    """
    links = [path for path, entry in tree.entries.items() if entry.kind == "link"]
    if links:
        raise ImageError(f"a wheel holds the link {links[0]}, which has no hash")
    files = {
        path: hashlib.sha256(entry.data).hexdigest()
        for path, entry in sorted(tree.entries.items())
        if entry.kind == "file" and path != MANIFEST
    }
    own = {"schema": SCHEMA, "version": version, "slfac": release_of(tree)}
    made_for = {"python": ABIS[abi][0], "machine": _MACHINE}
    return json.dumps({**own, **made_for, "files": files}, indent=1).encode() + b"\n"


def release_of(tree: Tree) -> str:
    """Which release of slfac a version is.

    Args:
        tree: Its files, below its own folder.

    Raises:
        ImageError: It holds none.
    """
    entry = tree.entries.get("lib/slfac/__init__.py")
    found = _RELEASE.search(entry.data.decode("utf-8", "replace")) if entry else None
    if found is None:
        raise ImageError("the layer holds no release of slfac")
    return found[1]

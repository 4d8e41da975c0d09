"""Packages for a trial: this release, one that seems later, and ones that do not work."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from slfac.device.image.deb.package import make_package
from slfac.device.image.layer.edge import layer_version, version_tree
from slfac.device.image.layer.manifest import pack_manifest, release_of
from slfac.device.image.layer.tree import Tree
from slfac.device.image.update.versions import MANIFEST

_INIT = "lib/slfac/__init__.py"
_NOTIFY = "lib/slfac/device/notify.py"


def write_packages(abi: str, folder: Path, *, booted: bool, time_s: int) -> None:
    """Write what trial.sh installs.

    Args:
        abi: The system's Python.
        folder: Where to.
        booted: With the one whose service does not start.
        time_s: When the packages are said to have been made.
    """
    tree = version_tree(abi)
    bare = Tree({path: entry for path, entry in tree.entries.items() if _is_own(path)})
    other = "cp310" if abi != "cp310" else "cp311"
    kinds = {
        "a": tree,
        "b": changed(tree, abi, "0.1.1", {}),
        "broken": changed(bare, abi, "0.1.2", {}),
        "other": changed(bare, other, "0.1.3", {}),
    }
    if booted:
        # Its trial passes; its service does not start.
        kinds["stuck"] = changed(tree, abi, "0.1.4", {_NOTIFY: b"raise SystemExit(1)\n"})
    for name, version in kinds.items():
        # Packed less than those of `slfac image deb`, which takes a minute for each.
        package = make_package(abi, version, time_s=time_s, preset=0)
        (folder / f"{name}.deb").write_bytes(package.data)
        told = json.loads(version.entries[MANIFEST].data)["version"]
        (folder / f"{name}.version").write_text(f"{told}\n")
        (folder / f"{name}.release").write_text(f"{release_of(version)}\n")


def changed(tree: Tree, abi: str, release: str, files: Mapping[str, bytes]) -> Tree:
    """Another version, which says rightly what it holds."""
    before = release_of(tree)
    told = tree.entries[_INIT].data.decode().replace(f'"{before}"', f'"{release}"')
    changed = Tree(dict(tree.entries))
    for path, data in {_INIT: told.encode(), **files}.items():
        changed.file(path, data, tree.entries[path].mode)
    version = layer_version(abi).replace(before, release)
    changed.file(MANIFEST, pack_manifest(changed, abi, version))
    return changed


def _is_own(path: str) -> bool:
    """Whether a file is no wheel's but slfac's own: alone, it cannot compute."""
    return path.startswith(("bin", "lib/slfac/")) or path == "lib"

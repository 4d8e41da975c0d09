"""The edge layer as files of a root file system."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from slfac import __version__
from slfac.device.image.board import BOARD_FILES, ENABLED
from slfac.device.image.layer.manifest import pack_manifest
from slfac.device.image.layer.tree import Tree
from slfac.device.image.layer.wheels import install_wheels, lock_file
from slfac.device.image.update.versions import MANIFEST

HOME = "opt/slfac"
# Releases of systemd where that Python is the system's: Ubuntu 22.04 and 24.04, Debian 12 and 13.
_SYSTEMD = {"cp310": 249, "cp311": 252, "cp312": 255, "cp313": 257}
_LAUNCHER = """\
#!/usr/bin/python3 -s
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))

from slfac.cli import main

sys.exit(main())
"""


def layer_version(abi: str) -> str:
    """What a layer is called: the release, and which wheels it has.

    Args:
        abi: Its Python, such as ``cp313``.

    Raises:
        ImageError: There is no such layer.
    """
    lock = hashlib.sha256(lock_file(abi).read_bytes()).hexdigest()
    return f"{__version__}-{abi}-{lock[:8]}"


def edge_tree(abi: str, wheel: Path | None = None) -> Tree:
    """Make the layer.

    Args:
        abi: Its Python, such as ``cp313``.
        wheel: slfac's own wheel; None to build or fetch it.

    Returns:
        Its files.

    Raises:
        ImageError: There is no such layer, or a wheel cannot be had.
    """
    return layer_tree(version_tree(abi, wheel), layer_version(abi), abi)


def layer_tree(version: Tree, name: str, abi: str) -> Tree:
    """A version where boards have it, and what stands beside it.

    Args:
        version: The version's files, below its own folder.
        name: What it is called.
        abi: Its Python, such as ``cp313``.

    Returns:
        The layer's files.
    """
    tree = version.below(f"{HOME}/versions/{name}")
    tree.link(f"{HOME}/current", f"versions/{name}")
    tree.link("usr/bin/slfac", f"../../{HOME}/current/bin/slfac")
    tree.entries |= board_tree(abi).entries
    return tree


def version_tree(abi: str, wheel: Path | None = None) -> Tree:
    """One version of slfac: its wheels, what starts it, and what it says of itself.

    Args:
        abi: Its Python, such as ``cp313``.
        wheel: slfac's own wheel; None to build or fetch it.

    Returns:
        Its files, below the version's own folder.

    Raises:
        ImageError: There is no such layer, or a wheel cannot be had.
    """
    tree = Tree()
    with tempfile.TemporaryDirectory(prefix="slfac-layer-") as name:
        wheels = Path(name) / "lib"
        install_wheels(abi, wheels, wheel)
        tree.copy("lib", wheels)
    tree.file("bin/slfac", _LAUNCHER, 0o755)
    tree.file(MANIFEST, pack_manifest(tree, abi, layer_version(abi)))
    return tree


def board_tree(abi: str) -> Tree:
    """What stands beside the wheels: units, rules, and what runs before the wheels do.

    Args:
        abi: The layer's Python, such as ``cp313``, which tells the release of the system.

    Returns:
        Its files.
    """
    tree = Tree()
    for file in BOARD_FILES:
        if _SYSTEMD[abi] >= file.least_systemd:
            tree.file(file.place.lstrip("/"), file.read(), file.mode)
    for unit in ENABLED:
        wants = f"etc/systemd/system/multi-user.target.wants/{unit}"
        tree.link(wants, f"/usr/lib/systemd/system/{unit}")
    return tree

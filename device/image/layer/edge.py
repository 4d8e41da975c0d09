"""The edge layer as files of a root file system."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from slfac import __version__
from slfac.device.image.layer.tree import Tree
from slfac.device.image.layer.wheels import install_wheels, lock_file

BOARD_FILES = Path(__file__).parents[1] / "board"
HOME = "opt/slfac"
# Where each kind of file of ours belongs, and who may run it.
_PLACES = {
    ".py": ("usr/lib/slfac", 0o755),
    ".service": ("usr/lib/systemd/system", 0o644),
    ".rules": ("usr/lib/udev/rules.d", 0o644),
    ".sysusers": ("usr/lib/sysusers.d", 0o644),
    ".tmpfiles": ("usr/lib/tmpfiles.d", 0o644),
}
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
    tree, version = Tree(), layer_version(abi)
    home = f"{HOME}/versions/{version}"
    with tempfile.TemporaryDirectory(prefix="slfac-layer-") as name:
        wheels = Path(name) / "lib"
        install_wheels(abi, wheels, wheel)
        tree.copy(f"{home}/lib", wheels)
    tree.file(f"{home}/bin/slfac", _LAUNCHER, 0o755)
    tree.link(f"{HOME}/current", f"versions/{version}")
    tree.link("usr/bin/slfac", f"../../{HOME}/current/bin/slfac")
    for source in sorted(BOARD_FILES.iterdir()):
        if source.suffix in _PLACES:
            folder, mode = _PLACES[source.suffix]
            place = f"{folder}/{_installed_name(source)}"
            tree.file(place, source.read_bytes(), mode)
    for unit in ("slfac-firstboot.service", "slfac-device.service"):
        wants = f"etc/systemd/system/multi-user.target.wants/{unit}"
        tree.link(wants, f"/usr/lib/systemd/system/{unit}")
    return tree


def _installed_name(source: Path) -> str:
    if source.suffix in {".sysusers", ".tmpfiles"}:
        return f"{source.stem}.conf"
    return source.name

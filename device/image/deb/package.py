"""The package ``slfac-device``: the edge layer for a system that is its user's own."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from slfac.device.image.deb.archive import pack_deb
from slfac.device.image.layer.edge import HOME, board_tree, version_tree
from slfac.device.image.layer.manifest import release_of
from slfac.device.image.layer.tree import Tree
from slfac.device.image.layer.wheels import ABIS

NAME: Final = "slfac-device"
#: Where dpkg puts the version; what it runs as has the same files, but is none of dpkg's.
PAYLOAD: Final = "usr/lib/slfac/layer"
_HERE = Path(__file__).parent
_SCRIPTS = ("postinst", "prerm", "postrm")
_REVISION = 1
# An image may grow its own card; the disk of somebody's system is not ours to change.
_OF_IMAGES = "slfac-growroot.service", "slfac/growroot.py"
_CONDITION = "usr/lib/systemd/system/slfac-firstboot.service.d/10-package.conf"
_DESCRIPTION = """\
trains the front of a neural network on this board (split learning)
 The agent of slfac, with what it needs of onnxruntime and NumPy, as a service
 that waits for its settings in /etc/slfac/device.toml.
 .
 Each version is tried before it runs; the one before is kept to go back to:
 slfac update --help."""


class Package(NamedTuple):
    """A Debian package.

    Attributes:
        file_name: As Debian names its file.
        data: Its bytes.
    """

    file_name: str
    data: bytes


def make_package(abi: str, version: Tree, *, time_s: int, preset: int = 6) -> Package:
    """Make the package.

    Args:
        abi: Its Python, such as ``cp313``.
        version: What :func:`~slfac.device.image.layer.edge.version_tree` gives.
        time_s: When everything is said to have been made, in seconds since 1970.
        preset: How hard xz tries.

    Returns:
        The package; the same files give the same bytes.
    """
    number = f"{release_of(version)}+{abi}-{_REVISION}"
    scripts = {name: (_HERE / "scripts" / name).read_bytes() for name in _SCRIPTS}
    tree, fields = package_tree(abi, version), _fields(abi, number)
    data = pack_deb(fields, scripts, tree, time_s=time_s, preset=preset)
    return Package(f"{NAME}_{number}_arm64.deb", data)


def package_tree(abi: str, version: Tree) -> Tree:
    """The files that the package installs.

    Args:
        abi: Its Python, such as ``cp313``.
        version: One version of slfac.
    """
    tree = version.below(PAYLOAD)
    for path, entry in board_tree(abi).entries.items():
        # dpkg would take links in /etc for its own; postinst enables units as Debian does.
        if entry.kind == "file" and not path.endswith(_OF_IMAGES):
            tree.file(path, entry.data, entry.mode)
    tree.file(_CONDITION, (_HERE / "firstboot.conf").read_bytes())
    tree.link("usr/bin/slfac", f"../../{HOME}/current/bin/slfac")
    return tree


def make_device_package(abi: str, wheel: Path | None, *, time_s: int) -> Package:
    """Make the package of this release.

    Args:
        abi: Its Python, such as ``cp313``.
        wheel: slfac's own wheel; None to build or fetch it.
        time_s: When everything is said to have been made, in seconds since 1970.

    Returns:
        The package.

    Raises:
        ImageError: There is no such layer, or a wheel cannot be had.
    """
    return make_package(abi, version_tree(abi, wheel), time_s=time_s)


def _fields(abi: str, number: str) -> dict[str, str]:
    python = ABIS[abi][0]
    major, minor = python.split(".")
    after = f"{major}.{int(minor) + 1}"
    pythons = [
        f"{name} ({bound})"
        for name in ("python3-minimal", "libpython3-stdlib")
        for bound in (f">= {python}~", f"<< {after}~")
    ]
    # The rest is what the wheels' libraries ask for (readelf -d), and what postinst runs.
    libraries = ("libc6 (>= 2.28)", "libgcc-s1", "libstdc++6 (>= 6)", "zlib1g")
    programs = ("systemd", "udev", "init-system-helpers (>= 1.54~)")
    return {
        "Package": NAME,
        "Version": number,
        "Architecture": "arm64",
        "Maintainer": "The slfac developers",
        "Depends": ", ".join((*pythons, *libraries, *programs)),
        "Section": "science",
        "Priority": "optional",
        "Homepage": "https://arxiv.org/abs/2604.07316",
        "Description": _DESCRIPTION,
    }

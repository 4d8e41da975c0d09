"""What a machine must have to build images, asked for once and all together."""

from __future__ import annotations

import getpass
import os
from pathlib import Path

from slfac.device.image.programs import PACKAGES, find_program
from slfac.wire.errors import ImageError

# Debian has no package of it.
_UV = "uv"
_PROGRAMS = (
    *("mmdebstrap", "apt-get", "arch-test", "dpkg-deb", "depmod", "mke2fs", "debugfs"),
    *("mkfs.vfat", "mcopy", "tar", _UV),
)
_BINFMT = Path("/proc/sys/fs/binfmt_misc/qemu-aarch64")
_SUBUID = Path("/etc/subuid")
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def require_tools(root: Path = Path("/")) -> None:
    """Refuse to begin what could not be finished.

    Args:
        root: Where this machine's files are.

    Raises:
        ImageError: Something is missing; the line says how to get all of it.
    """
    # Root has every user number already.
    own = () if os.geteuid() == 0 else ("newuidmap",)
    missing = [name for name in (*_PROGRAMS, *own) if find_program(name) is None]
    packages = sorted({PACKAGES.get(name, name) for name in missing if name != _UV})
    if not (root / _KEYRING.relative_to("/")).exists():
        missing.append("the keys of Debian's archives")
        packages.append("debian-archive-keyring")
    remedies = [f"sudo apt install {' '.join(packages)}"] if packages else []
    if _UV in missing:
        remedies.append("pip install uv")
    if not (root / _BINFMT.relative_to("/")).exists():
        missing.append("a way to run programs for arm64")
        remedies.append("sudo apt install qemu-user-static binfmt-support")
    user = getpass.getuser()
    if own and not _has_range(root / _SUBUID.relative_to("/"), user):
        missing.append(f"user numbers for {user}")
        remedies.append(
            f"sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}"
        )
    if missing:
        raise ImageError(
            f"this machine lacks what builds images: {', '.join(missing)}", "; ".join(remedies)
        )


def _has_range(path: Path, user: str) -> bool:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    return any(line.split(":")[0] == user for line in lines)

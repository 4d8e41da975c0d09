"""The user's own ``Linux_for_Tegra``: is it one, and may slfac be put into its root file system?"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from slfac.device.image.jetson.release import ABIS, Release, read_release
from slfac.wire.errors import ImageError

_ELF_ARM64: Final = 0xB7
_USER: Final = "tools/l4t_create_default_user.sh"
_FLASH: Final = "tools/kernel_flash/l4t_initrd_flash.sh"
# Names have changed from release to release: what is there is what is meant.
_LAYOUTS: Final = (
    "tools/kernel_flash/flash_l4t_t234_nvme.xml",
    "tools/kernel_flash/flash_l4t_external.xml",
)
_QSPI: Final = (
    "bootloader/generic/cfg/flash_t234_qspi.xml",
    "bootloader/t186ref/cfg/flash_t234_qspi.xml",
)
# Places that files of the layer go to: none may lead out of the root file system.
_PLACES: Final = (
    *("opt/slfac", "usr/bin", "usr/lib/slfac", "usr/lib/systemd/system", "usr/lib/udev/rules.d"),
    *("usr/lib/sysusers.d", "usr/lib/tmpfiles.d", "etc/systemd/system/multi-user.target.wants"),
    *("etc/slfac", "boot/firmware/slfac"),
)


@dataclass(frozen=True)
class Tegra:
    """A ``Linux_for_Tegra`` with a root file system.

    Attributes:
        folder: The folder.
        release: Its release.
        abi: Its Python, such as ``cp310``.
    """

    folder: Path
    release: Release
    abi: str

    @property
    def root(self) -> Path:
        """Its root file system."""
        return self.folder / "rootfs"

    def next_commands(self) -> list[str]:
        """NVIDIA's commands that make a user and write the board, as far as they are there."""
        lines = []
        if (self.folder / _USER).exists():
            lines.append(f"sudo ./{_USER} -u USER -p PASSWORD -n HOSTNAME --accept-license")
        layout = next((name for name in _LAYOUTS if (self.folder / name).exists()), None)
        qspi = next((name for name in _QSPI if (self.folder / name).exists()), None)
        if (self.folder / _FLASH).exists() and layout is not None:
            firmware = f' -p "-c {qspi}"' if qspi is not None else ""
            lines.append(
                f"sudo ./{_FLASH} --external-device nvme0n1p1 -c {layout}{firmware} --showlogs "
                "--network usb0 BOARD internal"
            )
        return lines

    def boards(self) -> list[str]:
        """What BOARD may be."""
        return sorted(path.stem for path in self.folder.glob("jetson-*-devkit*.conf"))


def look_at(folder: Path) -> Tegra:
    """Look at a folder, and refuse what slfac cannot be put into.

    Args:
        folder: The user's ``Linux_for_Tegra``.

    Raises:
        ImageError: It is none, or not ready, or may not be written.
    """
    root = folder / "rootfs"
    if not (folder / "apply_binaries.sh").is_file() or not root.is_dir():
        raise ImageError(
            f"{folder} is no Linux_for_Tegra: it has no apply_binaries.sh or no rootfs",
            "name the folder that NVIDIA's Jetson Linux driver package unpacks to",
        )
    try:
        text = (root / "etc/nv_tegra_release").read_text("utf-8", "replace")
    except OSError as error:
        raise ImageError(
            f"{root} has no etc/nv_tegra_release", "run `sudo ./apply_binaries.sh` there first"
        ) from error
    release = read_release(text)
    abi = _python(root)
    if abi != ABIS[release.jetpack]:
        raise ImageError(
            f"{root} has Python {abi}, JetPack {release.jetpack} has {ABIS[release.jetpack]}",
            "unpack NVIDIA's sample root file system of the same release",
        )
    if root.stat().st_uid != os.geteuid():
        raise ImageError(f"{root} belongs to another user", "run it with sudo")
    for place in _PLACES:
        _stay_inside(root, place)
    return Tegra(folder, release, abi)


def _python(root: Path) -> str:
    link = root / "usr/bin/python3"
    name = link.readlink().name if link.is_symlink() else ""
    try:
        with (root / "usr/bin" / name).open("rb") as stream:
            head = stream.read(20)
    except OSError:
        head = b""
    if head[:4] != b"\x7fELF" or len(head) < 20 or not name.startswith("python3."):
        raise ImageError(f"{root} has no Python in usr/bin", "unpack the sample root file system")
    if int.from_bytes(head[18:20], "little") != _ELF_ARM64:
        raise ImageError(f"{root} is not for 64-bit ARM", "unpack NVIDIA's root file system there")
    return f"cp{name.removeprefix('python').replace('.', '')}"


def _stay_inside(root: Path, place: str) -> None:
    """Refuse links that lead out of the root file system, into this machine's own."""
    real, at = root.resolve(), root
    for part in place.split("/"):
        at = at / part
        if at.is_symlink() and not at.resolve().is_relative_to(real):
            raise ImageError(
                f"{at} leads out of the root file system, to {at.readlink()}",
                "make it a folder, or a link that is relative",
            )

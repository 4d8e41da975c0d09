"""Small images laid out as Raspberry Pi OS is, with the files that pi-gen puts there.

Contents of the boot partition's files: https://github.com/RPi-Distro/pi-gen,
``stage1/00-boot-files`` and ``stage2/04-cloud-init``; the place of the seed:
the package rpi-cloud-init-mods.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

from harness.cards import MIB, SECTOR, mbr, mtool, with_tools
from slfac.device.image.layer.archive import pack_tree
from slfac.device.image.layer.edge import layer_tree
from slfac.device.image.layer.manifest import pack_manifest
from slfac.device.image.layer.tree import Tree
from slfac.device.image.update.versions import MANIFEST

BOOT_AT, BOOT_MIB, ROOT_MIB = 8, 40, 8
ISSUE = (
    "Raspberry Pi reference 2026-06-18\n"
    "Generated using pi-gen, https://github.com/RPi-Distro/pi-gen, "
    "4f2d4a4e5b1cd8ec1e1d6ec0a7ea2b0e14ca3ac2, stage2\n"
)
META_DATA = """\
# This is the meta-data configuration file for cloud-init.
dsmode: local
instance_id: rpios-image
"""
BOOT_FILES = {
    "cmdline.txt": "console=serial0,115200 console=tty1 root=PARTUUID=4e639091-02 rootfstype=ext4 "
    "fsck.repair=yes rootwait resize\n",
    "config.txt": "dtparam=audio=on\nauto_initramfs=1\narm_boost=1\n",
    "issue.txt": ISSUE,
    "meta-data": META_DATA,
    "user-data": "#cloud-config\n\n#hostname: raspberrypi\n",
    "network-config": "#network:\n#  version: 2\n",
}
SEED = "datasource_list: [ NoCloud, None ]\ndatasource:\n  NoCloud:\n    seedfrom: file:///boot/firmware\n"
STATUS = """\
Package: python3.13
Status: install ok installed
Architecture: arm64
Version: 3.13.5-2

Package: raspi-firmware
Status: install ok installed
Architecture: all
Source: raspi-firmware-src (1:1.20260601-1)
Version: 1:1.20260601-1+b1

Package: gone
Status: deinstall ok config-files
Version: 1
"""


def elf(bits: int = 64, machine: int = 0xB7) -> bytes:
    """The beginning of a program."""
    head = b"\x7fELF" + bytes([1 if bits == 32 else 2, 1, 1]) + bytes(9)
    return head + struct.pack("<HH", 3, machine) + bytes(44)


def root_files(*, codename: str = "trixie", python: str = "3.13", seed: str | None = SEED) -> dict:
    """Files of the root file system; bytes are a program's, a tuple is a link."""
    files = {
        "etc/rpi-issue": ISSUE,
        "etc/os-release": ("../usr/lib/os-release",),
        "usr/lib/os-release": f"ID=debian\nVERSION_CODENAME={codename}\n",
        "etc/passwd": "root:x:0:0:root:/root:/bin/sh\npi:x:1000:1000::/home/pi:/bin/bash\n",
        "usr/bin/python3": (f"python{python}",),
        f"usr/bin/python{python}": elf(),
        "var/lib/dpkg/status": STATUS,
        "etc/cloud/cloud.cfg.d/05_logging.cfg": "# nothing\n",
    }
    if seed is not None:
        files["etc/cloud/cloud.cfg.d/99_raspberry-pi.cfg"] = seed
    return files


def write_files(folder: Path, files: dict) -> None:
    """Write such files."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, tuple):
            path.symlink_to(content[0])
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())


def make_raspios(
    path: Path, *, boot: dict | None = None, root: dict | None = None, boot_mib: int = BOOT_MIB
) -> Path:
    """An image with an MBR, a FAT32 boot partition of small clusters, and an ext4 root.

    Args:
        path: The file to make.
        boot: Files of the boot partition; those of a download without.
        root: Files of the root partition.
        boot_mib: Size of the boot partition.
    """
    with_tools()
    root_at = BOOT_AT + boot_mib
    layout = ((1, 0x0C, BOOT_AT, boot_mib), (2, 0x83, root_at, ROOT_MIB))
    with path.open("wb") as stream:
        stream.write(mbr(layout))
        stream.truncate((root_at + ROOT_MIB) * MIB)
    where = f"{path}@@{BOOT_AT * MIB}"
    # As mkdosfs -F 32 -s 1 makes it: clusters of one sector.
    size = str(boot_mib * MIB // SECTOR)
    mtool("mformat", "-i", where, "-F", "-c", "1", "-T", size, "-v", "bootfs", "::")
    for name, text in (BOOT_FILES if boot is None else boot).items():
        mtool("mcopy", "-i", where, "-", f"::/{name}", given=text.encode())
    with tempfile.TemporaryDirectory() as name:
        write_files(Path(name), root_files() if root is None else root)
        subprocess.run(
            [
                shutil.which("mke2fs", path=f"{os.environ['PATH']}:/usr/sbin:/sbin"),
                *("-q", "-F", "-t", "ext4", "-L", "rootfs", "-d", name),
                *("-E", f"offset={root_at * MIB}", str(path), f"{ROOT_MIB}M"),
            ],
            check=True,
            capture_output=True,
        )
    return path


def small_layer(
    abi: str = "cp313",
    time_s: int = 1_780_000_000,
    version: str = "0.1.0-test",
    extra: Tree | None = None,
):
    """A layer with everything but the wheels; its program says which Python it is for."""
    held = Tree()
    held.file("bin/slfac", f"#!/bin/sh\necho slfac {version} {abi} $*\n", 0o755)
    held.file("lib/slfac/__init__.py", f'__version__ = "{version}"\n')
    held.file("lib/onnxruntime/__init__.py", "whose = 'cpu'\n")
    held.file("lib/onnxruntime-1.23.2.dist-info/METADATA", "")
    held.file(MANIFEST, pack_manifest(held, abi, version))
    tree = layer_tree(held, version, abi)
    tree.entries |= extra.entries if extra is not None else {}
    return pack_tree(tree, abi, version, time_s)


def boot_file(card: Path, name: str) -> bytes:
    """A file of the boot partition."""
    return mtool("mtype", "-i", f"{card}@@{BOOT_AT * MIB}", f"::/{name}")

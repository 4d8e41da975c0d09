"""Looks into an image of Raspberry Pi OS: is it one, and can the layer be put onto it?

What is on its boot partition, and in which form cloud-init reads it from there, is pi-gen's
``stage2/04-cloud-init`` and ``export-image`` (https://github.com/RPi-Distro/pi-gen), and the file
``99_raspberry-pi.cfg`` of the package rpi-cloud-init-mods: ``seedfrom: file:///boot/firmware``.
Nothing is mounted: debugfs of e2fsprogs reads the root file system where it lies.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from slfac.device.image.fat import Fat
from slfac.device.image.layer.wheels import ABIS
from slfac.device.image.mark import MARK, MOST_BYTES
from slfac.device.image.partitions import Partition, read_partitions
from slfac.device.image.programs import run_program
from slfac.wire.errors import ImageError

_MOST_TEXT: Final = 64 * 1024
_EXT_MAGIC_AT: Final = 1024 + 56
_EXT_MAGIC: Final = b"\x53\xef"
_ELF_64: Final = 2
_ELF_ARM64: Final = 0xB7
_GET: Final = (
    "download a current `Raspberry Pi OS (64-bit)` or its Lite from "
    "https://www.raspberrypi.com/software/operating-systems/"
)
_ISSUE: Final = re.compile(r"Raspberry Pi reference (\d{4}-\d{2}-\d{2})")
_LINK: Final = re.compile(r'Fast link dest: "([^"]+)"')
_CONFIGS: Final = "/etc/cloud/cloud.cfg.d"


@dataclass(frozen=True)
class Raspios:
    """An image of Raspberry Pi OS.

    Attributes:
        path: Its file, not compressed.
        boot: Its boot partition.
        root: Its root partition.
        abi: Its Python, such as ``cp313``.
        codename: Debian's release, such as ``trixie``.
        date: Its own release, such as ``2026-06-18``.
    """

    path: Path
    boot: Partition
    root: Partition
    abi: str
    codename: str
    date: str

    @property
    def root_files(self) -> RootFiles:
        """What is in its root file system."""
        return RootFiles(self.path, self.root)


class RootFiles:
    """An ext4 file system inside of an image, to read from.

    Args:
        image: The image.
        partition: Where it is.
    """

    def __init__(self, image: Path, partition: Partition) -> None:
        self.where = f"{image.absolute()}?offset={partition.start_bytes}"

    def read(self, path: str) -> bytes:
        """A file's content; empty where there is none. Links are not followed."""
        return self._debugfs(f"cat {path}")

    def link(self, path: str) -> str:
        """Where a symbolic link points to; empty where there is none."""
        found = _LINK.search(self._debugfs(f"stat {path}").decode("utf-8", "replace"))
        return found[1] if found else ""

    def names(self, folder: str) -> list[str]:
        """Names of what is in a folder; none where there is no such folder."""
        lines = self._debugfs(f"ls -p {folder}").decode("utf-8", "replace").splitlines()
        # /inode/mode/user/group/name/size/
        return [parts[5] for line in lines if len(parts := line.split("/")) > 6]

    def _debugfs(self, request: str) -> bytes:
        return run_program(["debugfs", "-R", request, self.where]).output


def look(path: Path) -> Raspios:
    """Look into an image, and refuse what the layer cannot be put onto.

    Args:
        path: The image, not compressed.

    Returns:
        What there is to know of it.

    Raises:
        ImageError: It is no 64-bit Raspberry Pi OS with cloud-init, or has slfac already.
        MissingExtraError: mtools or e2fsprogs is not installed.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        partitions = read_partitions(handle, os.lseek(handle, 0, os.SEEK_END))
        root = next((one for one in partitions if _is_ext(handle, one)), None)
    except ImageError as error:
        raise ImageError(f"{path.name} is no Raspberry Pi OS: {error.what}", _GET) from error
    finally:
        os.close(handle)
    boot = next((one for one in partitions if one.may_be_fat), None)
    if boot is None or root is None:
        raise ImageError(
            f"{path.name} is no Raspberry Pi OS: it has no boot and root partition", _GET
        )
    fat = Fat(path, boot)
    if fat.read(MARK, MOST_BYTES) is not None:
        raise ImageError(f"{path.name} has slfac already", "give the image as it was downloaded")
    files = RootFiles(path, root)
    abi = _system(path, files)
    _cloud_init(path, files, fat)
    issue = _ISSUE.search(files.read("/etc/rpi-issue").decode("utf-8", "replace"))
    release = files.read("/usr/lib/os-release").decode("utf-8", "replace")
    code = re.search(r"^VERSION_CODENAME=([a-z]+)$", release, re.MULTILINE)
    return Raspios(
        path, boot, root, abi, code[1] if code else "unknown", issue[1] if issue else "unknown"
    )


def _is_ext(handle: int, partition: Partition) -> bool:
    return os.pread(handle, 2, partition.start_bytes + _EXT_MAGIC_AT) == _EXT_MAGIC


def _system(path: Path, files: RootFiles) -> str:
    """The ABI of its Python."""
    if not files.read("/etc/rpi-issue"):
        raise ImageError(f"{path.name} is no Raspberry Pi OS: it has no /etc/rpi-issue", _GET)
    name = files.link("/usr/bin/python3").rpartition("/")[2]
    program = files.read(f"/usr/bin/{name}") if name else b""
    if program[:4] != b"\x7fELF" or len(program) < 20:
        raise ImageError(f"{path.name} has no Python in /usr/bin", _GET)
    if program[4] != _ELF_64 or int.from_bytes(program[18:20], "little") != _ELF_ARM64:
        raise ImageError(f"{path.name} is not for 64 bits: onnxruntime has no wheels for it", _GET)
    abi = f"cp{name.removeprefix('python').replace('.', '')}"
    if abi not in ABIS:
        raise ImageError(f"{path.name} has {name}, for which slfac has no wheels", _GET)
    return abi


def _cloud_init(path: Path, files: RootFiles, fat: Fat) -> None:
    """Refuse an image whose cloud-init is missing, or reads its files from elsewhere."""
    seeds = (files.read(f"{_CONFIGS}/{name}") for name in files.names(_CONFIGS))
    if not any(b"/boot/firmware" in seed for seed in seeds):
        raise ImageError(
            f"{path.name} has no cloud-init that reads its boot partition: releases for Debian 13, "
            "of November 2025 or later, have",
            _GET,
        )
    for name in ("meta-data", "user-data"):
        if fat.read(name, _MOST_TEXT) is None:
            raise ImageError(f"the boot partition of {path.name} has no {name}", _GET)
    if fat.read("vendor-data", _MOST_TEXT) is not None:
        raise ImageError(
            f"{path.name} has a vendor-data of its own", "give the image as it was downloaded"
        )

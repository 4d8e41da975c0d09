"""The drives of this machine, as ``lsblk`` tells them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from slfac.wire.errors import DriveError

_LSBLK = ("lsblk", "--json", "--bytes", "--output-all")
_LIMIT_S = 30
# Parts of an eMMC chip that hold its firmware or its keys.
_HIDDEN = re.compile(r"mmcblk\d+(boot\d+|rpmb|gp\d+)")
_MMC = re.compile(r"mmcblk\d+")
Lsblk = Callable[[], bytes]


class _Node(msgspec.Struct):
    """A device as lsblk writes it; older releases leave columns out, or write texts."""

    name: str
    type: str | None = None
    path: str | None = None
    size: int | str | None = None
    ro: bool | str | None = None
    rm: bool | str | None = None
    hotplug: bool | str | None = None
    tran: str | None = None
    vendor: str | None = None
    model: str | None = None
    serial: str | None = None
    label: str | None = None
    fstype: str | None = None
    majmin: str | None = msgspec.field(name="maj:min", default=None)
    mountpoint: str | None = None
    mountpoints: list[str | None] = []
    children: list[_Node] = []


class _Listing(msgspec.Struct):
    blockdevices: list[_Node]


@dataclass(frozen=True)
class Held:
    """Something on a drive that uses it.

    Attributes:
        path: The device, such as ``/dev/sdb1``.
        how: In words: ``mounted at /media/card``, ``LUKS``.
    """

    path: str
    how: str


@dataclass(frozen=True)
class Disk:
    """A whole drive, or something that looks like one.

    Attributes:
        path: Such as ``/dev/sdb``.
        name: Such as ``sdb``.
        kind: As lsblk says: ``disk``, ``loop``, ``part``, ``rom``, ``crypt`` ...
        size_bytes: Its size; 0 for a reader without a card.
        read_only: Whether it can be read only.
        pluggable: Whether it can be taken out, as far as the system knows.
        vendor: Who made it; empty where not known.
        model: Which model.
        serial: Its number.
        labels: Names of the file systems on it.
        held: What uses it.
        numbers: Device numbers, ``major:minor``, of it and everything on it.
    """

    path: str
    name: str
    kind: str
    size_bytes: int
    read_only: bool
    pluggable: bool
    vendor: str
    model: str
    serial: str
    labels: tuple[str, ...]
    held: tuple[Held, ...]
    numbers: frozenset[str]

    @property
    def title(self) -> str:
        """What people recognise it by."""
        words = (self.vendor, self.model, self.serial and f"serial {self.serial}")
        return " ".join(filter(None, words)) or "no name"


def run_lsblk() -> bytes:
    """What lsblk prints.

    Raises:
        DriveError: It is missing, fails or hangs.
    """
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command
            _LSBLK, capture_output=True, timeout=_LIMIT_S, check=True
        )
    except FileNotFoundError:
        raise DriveError(
            "lsblk is not installed, which lists this machine's drives",
            "install util-linux, or name a file to write to",
        ) from None
    except subprocess.TimeoutExpired:
        raise DriveError(
            f"lsblk gave no answer for {_LIMIT_S} s", "pull out drives that hang"
        ) from None
    except (OSError, subprocess.CalledProcessError) as error:
        raise DriveError(f"lsblk failed: {error}") from error
    return done.stdout


def list_disks(lsblk: Lsblk = run_lsblk) -> list[Disk]:
    """All devices of this machine, drives and what is on them.

    Args:
        lsblk: Gives the JSON that lsblk prints.

    Returns:
        Drives, each followed by its partitions and what is on these.

    Raises:
        DriveError: lsblk cannot be run, or what it prints cannot be read.
    """
    try:
        listing = msgspec.json.decode(lsblk(), type=_Listing, strict=False)
        return [disk for node in listing.blockdevices for disk in _flattened(node)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise DriveError(f"what lsblk prints cannot be read: {error}") from error


def _flattened(node: _Node) -> Iterator[Disk]:
    yield _disk(node)
    for child in node.children:
        yield from _flattened(child)


def _disk(node: _Node) -> Disk:
    family = list(_family(node))
    firmware = bool(_HIDDEN.fullmatch(node.name))
    pluggable = (
        _true(node.rm)
        or _true(node.hotplug)
        or node.tran in {"usb", "mmc"}
        or bool(_MMC.fullmatch(node.name))
        or node.type == "loop"
    )
    return Disk(
        path=_path(node),
        name=node.name,
        kind="firmware" if firmware else node.type or "unknown",
        size_bytes=int(node.size or 0),
        read_only=_true(node.ro),
        pluggable=pluggable,
        vendor=_clean(node.vendor),
        model=_clean(node.model),
        serial=_clean(node.serial),
        labels=tuple(_clean(one.label) for one in family if one.label),
        held=tuple(held for one in family for held in _uses(one, node)),
        numbers=frozenset(one.majmin.strip() for one in family if one.majmin),
    )


def _family(node: _Node) -> Iterator[_Node]:
    yield node
    for child in node.children:
        yield from _family(child)


def _uses(node: _Node, whole: _Node) -> Iterator[Held]:
    """How a device is used, apart from being cut into partitions."""
    for point in dict.fromkeys((*node.mountpoints, node.mountpoint)):
        if point == "[SWAP]":
            yield Held(_path(node), "swap space in use")
        elif point:
            yield Held(_path(node), f"mounted at {point}")
    if node is not whole and node.type not in {"part", "disk"}:
        yield Held(_path(node), f"in use by {_clean(node.type) or 'the kernel'}")
    if node.fstype == "zfs_member":
        # ZFS holds what it uses without telling the kernel's list of holders.
        yield Held(_path(node), "part of a ZFS pool")


def _path(node: _Node) -> str:
    return node.path or str(Path("/dev") / node.name)


def _true(value: bool | str | None) -> bool:
    return value in {True, "1", "true"}


def _clean(text: str | None) -> str:
    """A text that a drive tells of itself, fit for a terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in text or "").split())

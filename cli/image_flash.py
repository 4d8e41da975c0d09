"""``slfac image flash``: write an image to a drive."""

from __future__ import annotations

import argparse
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slfac.cli.image_inject import inject_prepared, prepare
from slfac.cli.image_personal import add_personal, is_personal
from slfac.cli.moving import Moving
from slfac.cli.parsers import add_command
from slfac.cli.tables import aligned, print_line
from slfac.wire.errors import SettingsError

if TYPE_CHECKING:
    from slfac.device.image.flash.disks import Disk
    from slfac.device.image.flash.source import Image

_EPILOG = """\
examples:
  slfac image flash slfac-rpi.img.zst                 list the drives that can be written
  slfac image flash slfac-rpi.img.zst /dev/sdb
  slfac image flash slfac-rpi.img.zst /dev/sdb --dry-run
  slfac image flash slfac-rpi.img.zst card.img        into a file
  slfac image flash slfac-rpi.img.zst /dev/sdb --confirm sdb     without being asked
  slfac image flash slfac-rpi.img.zst /dev/sdb --hostname pi-1 --data mnist \\
      --server tcp://10.0.0.5:5555 --server-key keys/server.key

The image may be plain, or compressed with zstd, xz or gzip. It is read once before anything is
written, then written, then read back from the drive. Its beginning, with the partition table, is
written last: a drive that failed or was pulled out never looks as if it could start a board.
"""


def add_flash(actions: Any) -> None:
    """Register the action.

    Args:
        actions: The subparsers of ``slfac image``.
    """
    parser = add_command(
        actions,
        "flash",
        summary="write an image to a card, a stick or a file, and read it back",
        epilog=_EPILOG,
        run=run_flash,
    )
    add = parser.add_argument
    add("image", metavar="IMAGE", type=Path, help="the image; its .json and .bmap are looked at")
    # argparse would take its own sign for "leave it out" for a file's name.
    whole = "a whole drive, or a file"
    add("target", metavar="DRIVE|FILE", type=Path, nargs="?", default=None, help=whole)
    add("--dry-run", action="store_true", help="do everything but write")
    add("--confirm", metavar="NAME", help="the drive's name, in place of typing it when asked")
    add_personal(parser.add_argument_group("injected once it is written, as by slfac image inject"))


def run_flash(args: argparse.Namespace) -> int:
    """Run ``slfac image flash``.

    Args:
        args: The parsed command line.

    Returns:
        The exit code.

    Raises:
        ImageError: The image cannot be used.
        DriveError: The drive is refused, or failed.
        SettingsError: The drive's name was not confirmed, or a setting to inject cannot be used.
        DataError: The data to inject cannot be copied.
    """
    from slfac.device.image.flash.source import examine
    from slfac.device.image.opened import open_image

    target: Path | None = args.target
    if target is None:
        _list(args.image)
        return 0
    disk = _disk(target)
    with Moving("checking the image") as moving:
        image = examine(args.image, moving.to)
    _say(f"{args.image}: {_size(image.size_bytes)}, sha256 {image.sha256}")
    _check(disk, image, target)
    prepared = prepare(args) if is_personal(args) else None
    if getattr(args, "dry_run", False):
        _say(f"{target} would be written: nothing was")
        return 0
    _confirm(target, disk, getattr(args, "confirm", None))
    _write(image, target)
    _say(f"{target} holds the image: every byte was read back")
    if prepared is not None:
        inject_prepared(open_image(target), prepared)
    return 0


def _write(image: Image, target: Path) -> None:
    from slfac.device.image.flash.target import open_target
    from slfac.device.image.flash.write import write_image

    with open_target(target, image.size_bytes) as opened:
        try:
            with Moving("") as moving:
                write_image(image, opened, moving.stage)
        except BaseException:
            _say(f"{target} is not complete and starts no board; write it again")
            raise


def _disk(target: Path) -> Disk | None:
    """The drive that is named; None for a file."""
    from slfac.device.image.flash.disks import list_disks
    from slfac.device.image.flash.guard import find_disk

    try:
        mode = target.stat().st_mode
    except OSError:
        # A file that is still to be made, or a drive that is not plugged in.
        if target.is_absolute() and target.parts[1] == "dev":
            return find_disk(list_disks(), target)
        return None
    return find_disk(list_disks(), target) if stat.S_ISBLK(mode) else None


def _check(disk: Disk | None, image: Image, target: Path) -> None:
    from slfac.device.image.flash.guard import check_disk, root_number

    if disk is not None:
        check_disk(disk, need_bytes=image.size_bytes, root=root_number())
    elif target.exists() and target.samefile(image.path):
        raise SettingsError(f"{target} is the image itself", "name another file, or a drive")


def _confirm(target: Path, disk: Disk | None, given: str | None) -> None:
    """Have the name of what will be lost typed."""
    if disk is None and not (target.exists() and target.stat().st_size):
        return
    name = disk.name if disk is not None else target.name
    if given is None:
        if not sys.stdin.isatty():
            raise SettingsError(
                f"nobody is there to confirm that {target} may be erased", f"pass --confirm {name}"
            )
        if disk is not None:
            _say(f"{disk.path}: {disk.title}, {_size(disk.size_bytes)}{_labels(disk)}")
        print(f"everything on {target} will be lost; type {name} to go on: ", end="", flush=True)
        given = sys.stdin.readline().strip()
    if given != name:
        raise SettingsError(f"{given!r} is not {name!r}: nothing was written", "type the name")


def _list(path: Path) -> None:
    """Say which drives can be written, and why others cannot."""
    from slfac.device.image.description import read_description
    from slfac.device.image.flash.disks import list_disks
    from slfac.device.image.flash.guard import candidates, root_number

    described = read_description(path)
    need, root, disks = described.size_bytes if described else 0, root_number(), list_disks()
    able = candidates(disks, need_bytes=need, root=root)
    rows = [(d.path, _size(d.size_bytes), d.title, " ".join(d.labels)) for d in able]
    for line in aligned([("drive", "size", "what", "names on it"), *rows]) if rows else ():
        print_line(line)
    for line in _others(disks, able, need, root):
        print_line(line)
    print_line(f"{len(able)} drives can be written" if able else "no drive can be written")


def _others(disks: list[Disk], able: list[Disk], need: int, root: str) -> Iterator[str]:
    from slfac.device.image.flash.guard import objections

    for disk in disks:
        if disk.kind == "disk" and disk not in able:
            why = "; ".join(objections(disk, need_bytes=need, root=root))
            yield f"passed over {disk.path} ({disk.title}, {_size(disk.size_bytes)}): {why}"


def _labels(disk: Disk) -> str:
    return f", holds {', '.join(disk.labels)}" if disk.labels else ""


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def _say(line: str) -> None:
    print(f"slfac image: {line}", file=sys.stderr, flush=True)

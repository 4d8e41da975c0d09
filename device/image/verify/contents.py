"""What can be told of an image without starting it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from slfac.device.image.build.boards import BOARDS
from slfac.device.image.flash.source import read_pieces
from slfac.device.image.mark import RASPIOS
from slfac.device.image.opened import Opened
from slfac.device.image.programs import run_program
from slfac.device.image.raspios.check import check_raspios
from slfac.wire.errors import ImageError

_MOST_FILE = 256 << 20
_LIMIT_S = 600.0


def unpack(image: Path, target: Path) -> None:
    """Copy an image, decompressed, with holes where it holds nothing.

    Args:
        image: The image.
        target: The file to make.

    Raises:
        ImageError: The image cannot be read.
    """
    size = 0
    with target.open("wb") as stream:
        for piece in read_pieces(image):
            if piece.strip(b"\0"):
                stream.seek(size)
                stream.write(piece)
            size += len(piece)
        stream.truncate(size)


def check_contents(opened: Opened) -> Iterator[str]:
    """Look at the boot partition's files and the root's file system.

    Args:
        opened: The image.

    Yields:
        A line for each thing that is in order.

    Raises:
        ImageError: Something is not.
    """
    if opened.mark.board == RASPIOS:
        yield from check_raspios(opened)
        yield check_root(opened)
        return
    board = BOARDS.get(opened.mark.board)
    if board is None:
        raise ImageError(f"{opened.path} is for {opened.mark.board!r}, which this release cannot")
    yield f"{board.title}, slfac {opened.mark.version}, {len(opened.partitions)} partitions"
    for name in ("vmlinuz", "initrd.img", "cmdline.txt", *board.files):
        if not opened.boot.read(name, _MOST_FILE):
            raise ImageError(f"the boot partition has no {name}", "build or fetch the image again")
    yield "kernel, initial RAM disk and settings on the boot partition"
    yield check_root(opened)


def check_root(opened: Opened) -> str:
    """Look at the root's file system.

    Args:
        opened: The image.

    Returns:
        A line that says that it is in order.

    Raises:
        ImageError: It is damaged.
    """
    root = opened.partitions[-1]
    where = f"{opened.path.absolute()}?offset={root.start_bytes}"
    checked = run_program(["e2fsck", "-f", "-n", where], limit_s=_LIMIT_S)
    if checked.code:
        told = " ".join(checked.output.decode("utf-8", "replace").split())[-200:]
        raise ImageError(f"the root partition is damaged: {told}", "build or fetch the image again")
    return f"root file system of {root.size_bytes / 1e6:.0f} MB, without a fault"


def take_boot_files(opened: Opened, names: tuple[str, ...], folder: Path) -> str:
    """Copy what a machine starts from.

    Args:
        opened: The image.
        names: The files.
        folder: Where to.

    Returns:
        The kernel's command line.

    Raises:
        ImageError: One is missing.
    """
    for name in names:
        data = opened.boot.read(name, _MOST_FILE)
        if data is None:
            raise ImageError(
                f"the boot partition has no {name}", "an image for another board cannot start there"
            )
        (folder / name).write_bytes(data)
    line = opened.boot.read("cmdline.txt", 4096)
    if line is None:
        raise ImageError("the boot partition has no cmdline.txt", "build or fetch the image again")
    return line.decode("ascii", "replace").strip()

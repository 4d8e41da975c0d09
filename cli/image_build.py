"""``slfac image build``: make an image for boards."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slfac.cli.image_base import build_from_base
from slfac.cli.image_options import file_option, folder_option, wheel_option
from slfac.cli.image_report import write_report
from slfac.cli.parsers import add_command
from slfac.cli.source_time import source_time_s
from slfac.wire.errors import SettingsError

if TYPE_CHECKING:
    from slfac.device.image.build.image import Built
    from slfac.device.image.build.lock import Lock
    from slfac.device.image.build.recipe import Recipe

_EPILOG = """\
examples:
  slfac image build --board rpi
  slfac image build --board qemu --out images
  slfac image build --board rpi --lock images/slfac-rpi-0.1.0.img.lock.json
  slfac image build --base 2026-06-18-raspios-trixie-arm64-lite.img.xz

No root is needed. The first build fetches Debian's packages and takes 10 to 20 minutes; the base is
kept, and the next ones take a minute. The packages are written down beside the image: --lock builds
of exactly these again, and the same release of slfac gives the same bytes. SOURCE_DATE_EPOCH sets
the time that a new base is said to be of. --base takes your own Raspberry Pi OS as it was
downloaded, in a minute. docs/image.md, docs/raspios.md.
"""
_DATA_MIB = 256


def add_build(actions: Any) -> None:
    """Register the action.

    Args:
        actions: The subparsers of ``slfac image``.
    """
    parser = add_command(
        actions,
        "build",
        summary="make an image for boards, or for QEMU",
        epilog=_EPILOG,
        run=run_build,
    )
    add = parser.add_argument
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--board", choices=("rpi", "qemu"), help="rpi: Pi 3, 4, 5 and Zero 2 W")
    what.add_argument(
        "--base", type=Path, metavar="FILE", help="a Raspberry Pi OS (64-bit) that you downloaded"
    )
    add("--out", type=Path, metavar="DIR", help="where the image goes (images)")
    add("--cache", type=Path, metavar="DIR", help="where bases are kept (~/.cache/slfac/image)")
    add("--data-mib", type=int, metavar="N", help=f"room for data in the image ({_DATA_MIB})")
    add("--wheel", type=Path, metavar="FILE", help="slfac's wheel, instead of building one")
    add("--lock", type=Path, metavar="FILE", help="make the base of exactly these packages")
    add("--json", type=Path, metavar="FILE", help="also write sizes and times to a JSON file")
    add("--again", action="store_true", help="make the base anew although one is kept")


def run_build(args: argparse.Namespace) -> int:
    """Run ``slfac image build``.

    Args:
        args: The parsed command line.

    Returns:
        The exit code.

    Raises:
        ImageError: The machine lacks something, the lock or the base cannot be used, or a step
            failed.
        SettingsError: An argument is out of range.
    """
    wheel, report = wheel_option(args), file_option(args, "json")
    say = _speaker()
    own = not hasattr(args, "base")
    built = _build(args, wheel, say) if own else build_from_base(args, wheel, say)
    say(
        f"{built.path}: {built.compressed_bytes / 1e6:.0f} MB, on a card "
        f"{built.size_bytes / 1e6:.0f} MB of sha256 {built.sha256}"
    )
    board = args.board if own else "raspios"
    if board != "qemu":
        _list(built, say)
    if report is not None:
        told = {**asdict(built), "board": board, "path": built.path.name}
        write_report(report, "slfac image build", told)
    return 0


def _build(args: argparse.Namespace, wheel: Path | None, say: Callable[[str], None]) -> Built:
    from slfac.device.image.build.boards import BOARDS
    from slfac.device.image.build.compress import require_zstd
    from slfac.device.image.build.image import build_image
    from slfac.device.image.build.recipe import trixie
    from slfac.device.image.needs import require_tools
    from slfac.device.places import image_cache

    data_mib: int = getattr(args, "data_mib", _DATA_MIB)
    if not 1 <= data_mib <= 1 << 20:
        raise SettingsError(f"--data-mib is {data_mib}", "give 1 to 1048576")
    recipe = trixie()
    lock = _lock(getattr(args, "lock", None), recipe)
    time_s = source_time_s(None if lock is None else lock.time_s)
    require_tools()
    require_zstd()
    return build_image(
        BOARDS[args.board],
        recipe,
        out=folder_option(args, "out", Path("images")),
        cache=folder_option(args, "cache", image_cache()),
        time_s=time_s,
        data_bytes=data_mib << 20,
        wheel=wheel,
        lock=lock,
        again=getattr(args, "again", False),
        on_status=say,
    )


def _lock(path: Path | None, recipe: Recipe) -> Lock | None:
    from slfac.device.image.build.lock import check_lock, read_lock

    if path is None:
        return None
    lock = read_lock(path)
    check_lock(lock, recipe, path)
    return lock


def _list(built: Built, say: Callable[[str], None]) -> None:
    from slfac.device.image.imager import write_list

    path, count = write_list(built.path.parent)
    say(f"{path}: {count} images for Raspberry Pi Imager")


def _speaker() -> Callable[[str], None]:
    """What says on standard error what goes on, and since when."""
    began_s = time.monotonic()

    def say(line: str) -> None:
        spent_s = time.monotonic() - began_s
        print(
            f"slfac image: {spent_s // 60:3.0f}:{spent_s % 60:02.0f} {line}",
            file=sys.stderr,
            flush=True,
        )

    return say

"""``slfac image build``: make an image for boards."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

from slfac.cli.parsers import add_command
from slfac.wire.errors import SettingsError

_EPILOG = """\
examples:
  slfac image build --board rpi
  slfac image build --board qemu --out images

No root is needed. The first build fetches Debian's packages and takes 10 to 20 minutes; the base is
kept, and the next ones take a minute. SOURCE_DATE_EPOCH sets the time that a new base is said to be
of; the same base and the same release of slfac give the same bytes. docs/image.md.
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
    add("--board", required=True, choices=("rpi", "qemu"), help="rpi: Pi 3, 4, 5 and Zero 2 W")
    add("--out", type=Path, metavar="DIR", help="where the image goes (images)")
    add("--cache", type=Path, metavar="DIR", help="where bases are kept (~/.cache/slfac/image)")
    add("--data-mib", type=int, metavar="N", help=f"room for data in the image ({_DATA_MIB})")
    add("--wheel", type=Path, metavar="FILE", help="slfac's wheel, instead of building one")
    add("--again", action="store_true", help="make the base anew although one is kept")


def run_build(args: argparse.Namespace) -> int:
    """Run ``slfac image build``.

    Args:
        args: The parsed command line.

    Returns:
        The exit code.

    Raises:
        ImageError: The machine lacks something, or a step failed.
        SettingsError: An argument is out of range.
    """
    from slfac.device.image.build.boards import BOARDS
    from slfac.device.image.build.image import build_image
    from slfac.device.image.build.recipe import trixie
    from slfac.device.image.needs import require_tools
    from slfac.device.places import image_cache

    data_mib: int = getattr(args, "data_mib", _DATA_MIB)
    if not 1 <= data_mib <= 1 << 20:
        raise SettingsError(f"--data-mib is {data_mib}", "give 1 to 1048576")
    wheel: Path | None = getattr(args, "wheel", None)
    if wheel is not None and not wheel.is_file():
        raise SettingsError(f"--wheel is {str(wheel)!r}, which is no file", "name the wheel")
    require_tools()
    began_s = time.monotonic()

    def say(line: str) -> None:
        spent_s = time.monotonic() - began_s
        print(
            f"slfac image: {spent_s // 60:3.0f}:{spent_s % 60:02.0f} {line}",
            file=sys.stderr,
            flush=True,
        )

    built = build_image(
        BOARDS[args.board],
        trixie(),
        out=getattr(args, "out", Path("images")),
        cache=getattr(args, "cache", image_cache()),
        time_s=source_time_s(),
        data_bytes=data_mib << 20,
        wheel=wheel,
        again=getattr(args, "again", False),
        on_status=say,
    )
    say(
        f"{built.path}: {built.compressed_bytes / 1e6:.0f} MB, on a card "
        f"{built.size_bytes / 1e6:.0f} MB of sha256 {built.sha256}"
    )
    return 0


def source_time_s() -> int:
    """The present, unless the environment says which present to take.

    https://reproducible-builds.org/specs/source-date-epoch/

    Raises:
        SettingsError: The environment says nothing that can be right.
    """
    told = os.environ.get("SOURCE_DATE_EPOCH")
    if told is None:
        return int(time.time())
    if not told.isdecimal() or len(told) > 11:
        raise SettingsError(f"SOURCE_DATE_EPOCH is {told!r}", "give seconds since 1970")
    return int(told)

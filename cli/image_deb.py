"""``slfac image deb``: the edge layer as a Debian package."""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path
from typing import Any

from slfac.cli.image_options import folder_option, wheel_option
from slfac.cli.parsers import add_command
from slfac.cli.source_time import source_time_s

_EPILOG = """\
examples:
  slfac image deb --abi cp313
  slfac image deb --abi cp310 --abi cp311 --out packages

cp310 is for Ubuntu 22.04, cp311 for Debian 12, cp312 for Ubuntu 24.04, cp313 for Debian 13, all
of them on arm64. No root and none of Debian's tools are needed. The same release and
SOURCE_DATE_EPOCH give the same bytes. On the board: sudo apt install ./FILE. docs/update.md.
"""


def add_deb(actions: Any) -> None:
    """Register the action.

    Args:
        actions: The subparsers of ``slfac image``.
    """
    parser = add_command(
        actions,
        "deb",
        summary="make a Debian package for boards that have a system of their own",
        epilog=_EPILOG,
        run=run_deb,
    )
    add = parser.add_argument
    add(
        "--abi",
        action="append",
        required=True,
        choices=("cp310", "cp311", "cp312", "cp313"),
        help="the system's Python; may be repeated",
    )
    add("--out", type=Path, metavar="DIR", help="where the packages go (packages)")
    add("--wheel", type=Path, metavar="FILE", help="slfac's wheel, instead of building one")


def run_deb(args: argparse.Namespace) -> int:
    """Run ``slfac image deb``.

    Args:
        args: The parsed command line.

    Returns:
        The exit code.

    Raises:
        ImageError: A wheel cannot be had.
        SettingsError: An argument is wrong.
    """
    from slfac.device.image.deb.package import make_device_package

    wheel, out = wheel_option(args), folder_option(args, "out", Path("packages"))
    time_s = source_time_s()
    for abi in dict.fromkeys(args.abi):
        _say(f"fetching and packing the wheels of {abi}")
        package = make_device_package(abi, wheel, time_s=time_s)
        target = out / package.file_name
        fresh = target.with_name(f".{target.name}.new")
        fresh.write_bytes(package.data)
        fresh.replace(target)
        sha256 = hashlib.sha256(package.data).hexdigest()
        _say(f"{target}: {len(package.data) / 1e6:.1f} MB, sha256 {sha256}")
    return 0


def _say(line: str) -> None:
    print(f"slfac image: {line}", file=sys.stderr, flush=True)

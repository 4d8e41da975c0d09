"""``slfac update``: put another version of slfac into this board, or go back to the one before."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from slfac.cli.parsers import add_command
from slfac.cli.tables import aligned, print_line
from slfac.wire.errors import SettingsError

_EPILOG = """\
examples:
  slfac update --list
  sudo slfac update slfac-device_0.2.0+cp313-1_arm64.deb
  sudo slfac update --rollback

Runs on a board: an image of slfac, or a system with the package slfac-device. The package is read
whole, compared with its hashes and tried on this board before anything is changed; if the service
does not start with it, the version before runs again. Who made a package is not checked: install
only what you have built, or trust. docs/update.md.
"""


def add_parser(subparsers: Any) -> None:
    """Register the subcommand.

    Args:
        subparsers: The main parser's subparsers.
    """
    parser = add_command(
        subparsers,
        "update",
        summary="put another version of slfac into this board",
        epilog=_EPILOG,
        run=run,
    )
    what = parser.add_mutually_exclusive_group(required=True)
    # argparse would take its own sign for "leave it out" for a file's name.
    help_ = "a package that `slfac image deb` made"
    what.add_argument("package", metavar="FILE", type=Path, nargs="?", default=None, help=help_)
    what.add_argument("--list", action="store_true", help="the versions on this board")
    what.add_argument("--rollback", action="store_true", help="let the version before run again")


def run(args: argparse.Namespace) -> int:
    """Run the subcommand.

    Args:
        args: The parsed command line.

    Returns:
        The exit code.

    Raises:
        UpdateError: The package cannot be used; the version that ran before still does.
        SettingsError: This is no board.
    """
    from slfac.device.image.update.apply import list_versions, roll_back, update
    from slfac.device.image.update.versions import Board

    board = Board()
    if not board.versions.is_dir():
        raise SettingsError(
            f"{board.versions} is not there: this is no image of slfac, nor is its package here",
            "run it on the board, or sudo apt install ./FILE there",
        )
    if hasattr(args, "list"):
        rows = [(one.role, one.name, one.release) for one in list_versions(board)]
        for line in aligned([("", "version", "release"), *rows]):
            print_line(line)
        return 0
    version = roll_back(board) if hasattr(args, "rollback") else update(board, args.package)
    print(f"slfac update: {version} runs", file=sys.stderr, flush=True)
    return 0

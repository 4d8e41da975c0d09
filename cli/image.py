"""``slfac image``: images that boards start from."""

from __future__ import annotations

from typing import Any

from slfac.cli.image_build import add_build
from slfac.cli.image_flash import add_flash, run_flash
from slfac.cli.parsers import add_command

_EPILOG = """\
examples:
  slfac image build --board rpi
  slfac image flash slfac-rpi.img.zst                 list the drives that can be written
  slfac image flash slfac-rpi.img.zst /dev/sdb
"""


def add_parser(subparsers: Any) -> None:
    """Register the subcommand.

    Args:
        subparsers: The main parser's subparsers.
    """
    parser = add_command(
        subparsers,
        "image",
        summary="images that boards start from",
        epilog=_EPILOG,
        run=run_flash,
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    add_build(actions)
    add_flash(actions)

"""``slfac image``: images that boards start from."""

from __future__ import annotations

from typing import Any

from slfac.cli.image_build import add_build
from slfac.cli.image_deb import add_deb
from slfac.cli.image_flash import add_flash, run_flash
from slfac.cli.image_imager import add_imager
from slfac.cli.image_inject import add_inject
from slfac.cli.image_jetson import add_jetson
from slfac.cli.image_verify import add_verify
from slfac.cli.parsers import add_command

_EPILOG = """\
examples:
  slfac image build --board rpi
  slfac image deb --abi cp313
  slfac image verify images/slfac-rpi-0.1.0.img.zst
  slfac image flash slfac-rpi.img.zst
  slfac image flash slfac-rpi.img.zst /dev/sdb
  slfac image inject /dev/sdb --hostname pi-1 --discover --server-key keys/server.key --data mnist

Without a drive, flash lists those that can be written.
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
    add_deb(actions)
    add_flash(actions)
    add_imager(actions)
    add_inject(actions)
    add_jetson(actions)
    add_verify(actions)

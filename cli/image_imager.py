"""``slfac image imager``: a list of images for Raspberry Pi Imager."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from slfac.cli.parsers import add_command

_EPILOG = """\
examples:
  slfac image imager images
  rpi-imager --repo images/slfac.rpi-imager-manifest
  slfac image imager images --url https://example.org/slfac

The first names the files as they lie on this machine: open the list with a double click, or as the
second does. The third writes os_list.json, to be put onto a web server beside the images. Imager
offers its own settings (user, Wi-Fi, SSH) for images made with `slfac image build --base`.
docs/raspios.md
"""


def add_imager(actions: Any) -> None:
    """Register the action.

    Args:
        actions: The subparsers of ``slfac image``.
    """
    parser = add_command(
        actions,
        "imager",
        summary="list images for Raspberry Pi Imager",
        epilog=_EPILOG,
        run=run_imager,
    )
    parser.add_argument(
        "folder", metavar="DIR", type=Path, help="folder with images that were built"
    )
    parser.add_argument("--url", metavar="URL", help="where the folder will be on a web server")


def run_imager(args: argparse.Namespace) -> int:
    """Run ``slfac image imager``.

    Args:
        args: The parsed command line.

    Returns:
        The exit code.

    Raises:
        ImageError: There is no image, or one is not what its description says.
        SettingsError: The address is none.
    """
    from slfac.device.image.imager import write_list

    path, count = write_list(args.folder, getattr(args, "url", None))
    print(f"slfac image: {path}: {count} of them", file=sys.stderr, flush=True)
    return 0

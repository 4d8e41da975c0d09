"""``slfac image inject``: make one board of a generic image."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slfac.cli.image_personal import add_personal, described, is_personal, personal
from slfac.cli.parsers import add_command
from slfac.cli.tables import print_line
from slfac.wire.errors import SettingsError

if TYPE_CHECKING:
    from slfac.device.image.opened import Opened
    from slfac.device.image.settings.document import Document

_EPILOG = """\
examples:
  slfac image inject card.img --hostname pi-1 --server tcp://10.0.0.5:5555 \\
      --server-key keys/server.key --data mnist --ssh-key id_ed25519.pub
  slfac image inject /dev/sdb --hostname pi-2 --discover --server-key keys/server.key \\
      --data-at MYSTICK/mnist --wifi lab --wifi-password-file pw --wifi-country DE
  slfac image inject card.img --show

The settings go into a file on the boot partition, in place of those injected before. The board
applies them at its next boot and wipes the file. Nothing is mounted. docs/image.md
"""


def add_inject(actions: Any) -> None:
    """Register the action.

    Args:
        actions: The subparsers of ``slfac image``.
    """
    parser = add_command(
        actions,
        "inject",
        summary="make one board of a generic image: name, keys, network, data",
        epilog=_EPILOG,
        run=run_inject,
    )
    add = parser.add_argument
    add("image", metavar="FILE|DRIVE", type=Path, help="an image that is not compressed, or a card")
    add("--show", action="store_true", help="only print what is injected, without secrets")
    add_personal(parser)


def run_inject(args: argparse.Namespace) -> int:
    """Run ``slfac image inject``.

    Args:
        args: The parsed command line.

    Returns:
        The exit code.

    Raises:
        SettingsError: A setting cannot be used.
        ImageError: The image is none of ours, or is damaged.
        DriveError: It is in use, or may not be written.
        DataError: The data cannot be copied.
    """
    from slfac.device.image.inject import injected, room_for
    from slfac.device.image.opened import open_image

    show = hasattr(args, "show")
    if show == is_personal(args):
        raise SettingsError(
            "nothing is to be injected" if not show else "--show injects nothing",
            "`slfac image inject --help` lists what can be; --show goes alone",
        )
    opened = open_image(args.image)
    if show:
        document = injected(opened)
        for line in described(document) if document is not None else ("nothing is injected",):
            print_line(line)
        return 0
    _refuse_described(opened)
    if hasattr(args, "data"):
        room_for(opened, args.data)
    inject_prepared(opened, prepare(args))
    return 0


@dataclass(frozen=True)
class Prepared:
    """What is to be injected, read and checked.

    Attributes:
        document: The settings.
        data: The folder with the data; None without.
    """

    document: Document
    data: Path | None


def prepare(args: argparse.Namespace) -> Prepared:
    """Read what the options name, and refuse what is wrong with it.

    Args:
        args: The parsed command line, with the options of
            :func:`~slfac.cli.image_personal.add_personal`.

    Raises:
        SlfacError: As :func:`run_inject` says.
    """
    from slfac.device.image.data_partition import look_at
    from slfac.device.image.settings import personal_document

    data: Path | None = getattr(args, "data", None)
    contents = look_at(data) if data is not None else None
    return Prepared(personal_document(personal(args, contents)), data)


def inject_prepared(opened: Opened, prepared: Prepared) -> None:
    """Inject, and tell what that is.

    Args:
        opened: The image.
        prepared: What to inject.

    Raises:
        SlfacError: As :func:`run_inject` says.
    """
    from slfac.device.image.inject import inject, room_for

    document, data = prepared.document, prepared.data
    if data is not None:
        contents = room_for(opened, data)[1]
        _say(f"copying {contents.files} files, {contents.used_bytes / 1e6:.1f} MB")
    inject(opened, document, data=data)
    for line in described(document):
        _say(line)
    if document.config is None:
        _say("neither --server nor --discover: this board will not train")
    if document.has_secrets and opened.is_file:
        _say(f"{opened.path} holds secrets now: only you can read it")


def _refuse_described(opened: Opened) -> None:
    """Leave a file alone that would no longer be what lies beside it says."""
    from slfac.device.image.description import beside

    told = [path for suffix in (".json", ".bmap") if (path := beside(opened.path, suffix)).exists()]
    if opened.is_file and told:
        raise SettingsError(
            f"{opened.path} would no longer be what {told[0].name} says",
            f"inject into a copy: `slfac image flash {opened.path} card.img`",
        )


def _say(line: str) -> None:
    print(f"slfac image: {line}", file=sys.stderr, flush=True)

"""``slfac image build --base``: an image from a Raspberry Pi OS that the user has downloaded."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from slfac.cli.image_options import folder_option
from slfac.cli.source_time import VARIABLE, source_time_s
from slfac.wire.errors import SettingsError

if TYPE_CHECKING:
    from slfac.device.image.build.image import Built

# Options of an image whose base is made here.
_OTHERS = ("data_mib", "again", "cache", "lock")


def build_from_base(
    args: argparse.Namespace, wheel: Path | None, say: Callable[[str], None]
) -> Built:
    """Build an image.

    Args:
        args: The parsed command line of ``slfac image build``.
        wheel: slfac's own wheel; None to build or fetch it.
        say: Told what goes on.

    Returns:
        What was built.

    Raises:
        ImageError: The base cannot be used, or a step failed.
        SettingsError: An option does not go with ``--base``.
    """
    from slfac.device.image.layer.archive import layer_archive
    from slfac.device.image.raspios.build import build_raspios

    useless = [name for name in _OTHERS if hasattr(args, name)]
    if useless:
        raise SettingsError(
            f"--{useless[0].replace('_', '-')} does not go with --base",
            "leave it out; docs/raspios.md says where such a board has its data",
        )
    return build_raspios(
        args.base,
        out=folder_option(args, "out", Path("images")),
        time_s=source_time_s() if VARIABLE in os.environ else None,
        make_layer=lambda abi, made_s: layer_archive(abi, wheel, made_s),
        on_status=say,
    )

"""``slfac image jetson``: slfac for NVIDIA's Jetson."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slfac.cli.image_options import file_option, wheel_option
from slfac.cli.image_personal import add_personal, is_personal, personal
from slfac.cli.parsers import add_command
from slfac.wire.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from slfac.device.image.layer.archive import LayerArchive
    from slfac.device.image.layer.tree import Tree

_EPILOG = """\
examples:
  slfac image jetson --installer slfac-jetson.run
  slfac image jetson --installer jetson-1.run --hostname jetson-1 --discover \\
      --server-key keys/server.key --data-at /var/lib/mnist
  sudo slfac image jetson Linux_for_Tegra --hostname jetson-1 --nvpmodel 0

The first is for Jetsons that run already: copy the file there, `sudo sh slfac-jetson.run`. The last
writes into the root file system that NVIDIA's flash tools take, and prints their commands. None of
NVIDIA's files is in either. docs/jetson.md
"""


def add_jetson(actions: Any) -> None:
    """Register the action.

    Args:
        actions: The subparsers of ``slfac image``.
    """
    parser = add_command(
        actions,
        "jetson",
        summary="put slfac onto a Jetson: an installer, or into NVIDIA's root file system",
        epilog=_EPILOG,
        run=run_jetson,
    )
    add = parser.add_argument
    add(
        "folder", nargs="?", default=None, metavar="DIR", type=Path, help="your own Linux_for_Tegra"
    )
    add("--installer", type=Path, metavar="FILE", help="write an installer for running Jetsons")
    add("--jetpack", type=int, choices=(6, 7), help="for this JetPack only (6 and 7)")
    add("--wheel", type=Path, metavar="FILE", help="slfac's wheel, instead of building one")
    add("--gpu-wheel", type=Path, metavar="FILE", help="your onnxruntime-gpu; with DIR only")
    add("--nvpmodel", type=int, metavar="MODE", help="power mode at each start; with DIR only")
    add_personal(parser)


def run_jetson(args: argparse.Namespace) -> int:
    """Run ``slfac image jetson``.

    Args:
        args: The parsed command line.

    Returns:
        The exit code.

    Raises:
        SettingsError: The arguments do not go together, or a setting cannot be used.
        ImageError: The folder cannot be used, or something cannot be written.
    """
    target = file_option(args, "installer")
    folder: Path | None = args.folder
    if folder is not None and target is None:
        act = functools.partial(_apply, args, folder)
    elif target is not None and folder is None:
        act = functools.partial(_installer, args, target)
    else:
        raise SettingsError(
            "give a Linux_for_Tegra or --installer, and not both",
            "`slfac image jetson --help` has examples",
        )
    for name in ("wheel", "gpu_wheel"):
        wheel_option(args, name)
    return act(_settings(args))


def _settings(args: argparse.Namespace) -> bytes:
    """``device.json`` of one board; empty without options that make one."""
    from slfac.device.image.settings import personal_document
    from slfac.device.image.settings.document import pack_document

    if hasattr(args, "data"):
        raise SettingsError(
            "--data copies onto cards, and a Jetson has none of ours",
            "copy the data set to the board, and name it: --data-at /PATH",
        )
    if not is_personal(args):
        return b""
    given = personal(args, None)
    if given.server is not None or given.discover or given.config:
        # The GPU where it passes the self-test; who wants something else says so in --config.
        given = dataclasses.replace(given, config={"provider": "auto", **given.config})
    return pack_document(personal_document(given))


def _make_layer(args: argparse.Namespace) -> Callable[[str, Tree], LayerArchive]:
    from slfac.cli.source_time import source_time_s
    from slfac.device.image.layer.archive import layer_archive

    wheel = wheel_option(args)
    made_s = source_time_s()

    def make(abi: str, extra: Tree) -> LayerArchive:
        _say(f"layer for Python {abi}")
        return layer_archive(abi, wheel, made_s, extra)

    return make


def _installer(args: argparse.Namespace, target: Path, settings: bytes) -> int:
    from slfac.device.image.jetson.installer import write_installer
    from slfac.device.image.jetson.release import ABIS

    for name in ("gpu_wheel", "nvpmodel"):
        if hasattr(args, name):
            option = f"--{name.replace('_', '-')}"
            raise SettingsError(
                f"{option} goes with a Linux_for_Tegra", f"give {option} to the installer, there"
            )
    jetpacks = (args.jetpack,) if hasattr(args, "jetpack") else tuple(ABIS)
    size = write_installer(
        target, jetpacks=jetpacks, make_layer=_make_layer(args), settings=settings
    )
    _say(f"{target}: {size / 1e6:.0f} MB, for JetPack {' and '.join(map(str, jetpacks))}")
    if settings:
        _say("it holds the settings of one board: only you can read it")
    _say(f"copy it to the board, and there: sudo sh {target.name}")
    return 0


def _apply(args: argparse.Namespace, folder: Path, settings: bytes) -> int:
    from slfac.device.image.jetson.apply import apply
    from slfac.device.image.jetson.target import look_at

    nvpmodel: int | None = getattr(args, "nvpmodel", None)
    if nvpmodel is not None and not 0 <= nvpmodel <= 99:
        raise SettingsError(f"--nvpmodel is {nvpmodel}", "give 0 to 99")
    tegra = look_at(folder)
    if getattr(args, "jetpack", tegra.release.jetpack) != tegra.release.jetpack:
        raise SettingsError(
            f"--jetpack is {args.jetpack}, {folder} is of JetPack {tegra.release.jetpack}",
            "leave it out",
        )
    _say(f"Jetson Linux {tegra.release.linux}, JetPack {tegra.release.jetpack}, {tegra.abi}")
    apply(
        tegra,
        make_layer=_make_layer(args),
        settings=settings,
        gpu_wheel=wheel_option(args, "gpu_wheel"),
        nvpmodel=nvpmodel,
        on_status=_say,
    )
    _say(f"next, in {folder}, after reading NVIDIA's licence:")
    for command in tegra.next_commands():
        print(command, flush=True)
    if tegra.boards():
        _say(f"BOARD is one of {', '.join(tegra.boards())}, or your carrier board's")
    return 0


def _say(line: str) -> None:
    print(f"slfac image: {line}", file=sys.stderr, flush=True)

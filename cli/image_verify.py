"""``slfac image verify``: look into an image, and have it train in QEMU."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slfac.cli.image_options import file_option, folder_option
from slfac.cli.image_report import write_report
from slfac.cli.moving import Moving
from slfac.cli.parsers import add_command
from slfac.wire.errors import SettingsError

if TYPE_CHECKING:
    from slfac.testbed.image.verify import Verified

_EPILOG = """\
examples:
  slfac image verify images/slfac-rpi-0.1.0.img.zst
  slfac image verify images/slfac-rpi-0.1.0.img.zst --machine raspi3b
  slfac image verify images/slfac-rpi-0.1.0.img.zst --stranger
  slfac image verify images/slfac-rpi-0.1.0.img.zst --no-boot

A copy gets keys, settings and 4000 digits, is started in QEMU, and trains against a server on this
machine, over CURVE. Emulated on two cores that takes two to five minutes, and several times as long
where other programs keep them busy: --limit-s. The image stays as it is. docs/image.md
"""
_STEPS = 5
_LIMIT_S = 900.0
_MOST_LIMIT_S = 86_400


def add_verify(actions: Any) -> None:
    """Register the action.

    Args:
        actions: The subparsers of ``slfac image``.
    """
    parser = add_command(
        actions,
        "verify",
        summary="check an image, and have it train in QEMU",
        epilog=_EPILOG,
        run=run_verify,
    )
    add = parser.add_argument
    add("image", metavar="IMAGE", type=Path, help="the image, compressed or not")
    add("--no-boot", action="store_true", help="check it only, do not start it")
    add("--machine", choices=("virt", "raspi3b"), help="what QEMU plays (virt)")
    add("--steps", type=int, metavar="N", help=f"training steps to make ({_STEPS})")
    add("--stranger", action="store_true", help="do not enroll its key: it must be refused")
    add("--data", type=Path, metavar="DIR", help="IDX folder to train on (MNIST digits)")
    add("--limit-s", type=float, metavar="S", help=f"how long it may take ({_LIMIT_S:g})")
    add("--json", type=Path, metavar="FILE", help="also write what was found to a JSON file")
    add("--work", type=Path, metavar="DIR", help="keep the copy, console and logs in this folder")


def run_verify(args: argparse.Namespace) -> int:
    """Run ``slfac image verify``.

    Args:
        args: The parsed command line.

    Returns:
        The exit code.

    Raises:
        ImageError: The image is damaged, did not start, or did not train.
        SettingsError: An argument is out of range.
    """
    from slfac.device.image.flash.source import examine

    steps: int = getattr(args, "steps", _STEPS)
    if not 1 <= steps <= 100_000:
        raise SettingsError(f"--steps is {steps}", "give 1 to 100000")
    limit_s: float = getattr(args, "limit_s", _LIMIT_S)
    if not 1 <= limit_s <= _MOST_LIMIT_S:
        raise SettingsError(f"--limit-s is {limit_s:g}", f"give 1 to {_MOST_LIMIT_S}")
    work, report = _empty_folder(args), file_option(args, "json")
    with Moving("checking the image") as moving:
        image = examine(args.image, moving.to)
    told = {"its description": image.described, "its block map": image.block_map}
    held = " and ".join(name for name, one in told.items() if one is not None)
    _say(f"{image.size_bytes / 1e6:.0f} MB, sha256 {image.sha256}")
    _say(f"as {held} says" if held else "nothing lies beside it that it could be held against")
    if work is not None:
        found = _verify(args, work, steps)
    else:
        with tempfile.TemporaryDirectory(prefix="slfac-verify-", dir="/var/tmp") as folder:
            found = _verify(args, Path(folder), steps)
    if report is not None:
        known = {"image": args.image.name, "size_bytes": image.size_bytes, "sha256": image.sha256}
        write_report(report, "slfac image verify", {**known, **found})
    return 0


def _empty_folder(args: argparse.Namespace) -> Path | None:
    if not hasattr(args, "work"):
        return None
    work = folder_option(args, "work", args.work)
    if any(work.iterdir()):
        raise SettingsError(f"--work is {str(work)!r}, which is not empty", "name a new folder")
    return work


def _verify(args: argparse.Namespace, work: Path, steps: int) -> dict[str, Any]:
    """Look into a copy and start it; what was found."""
    from slfac.device.image.opened import open_image
    from slfac.device.image.verify.contents import check_contents, unpack

    copy = work / "card.img"
    unpack(args.image, copy)
    lines = []
    for line in check_contents(open_image(copy)):
        _say(line)
        lines.append(line)
    if getattr(args, "no_boot", False):
        return {"contents": lines, "started": None}
    verified = _start(args, copy, work, steps)
    _tell(verified)
    return {"contents": lines, "started": asdict(verified)}


def _start(args: argparse.Namespace, copy: Path, work: Path, steps: int) -> Verified:
    from slfac.device.image.verify.machine import MACHINES
    from slfac.testbed.image.verify import Trial, verify_image
    from slfac.testbed.mnist5k import fetch_mnist5k

    began_s = time.monotonic()

    def say(line: str) -> None:
        _say(f"{time.monotonic() - began_s:4.0f} s  {line}")

    return verify_image(
        Trial(
            copy=copy,
            machine=MACHINES[getattr(args, "machine", "virt")],
            data=getattr(args, "data", None) or fetch_mnist5k(on_progress=say),
            steps=steps,
            stranger=getattr(args, "stranger", False),
            limit_s=getattr(args, "limit_s", _LIMIT_S),
            work=work,
            on_status=say,
        )
    )


def _tell(found: Verified) -> None:
    qemu = f"QEMU's memory {found.qemu_rss_bytes / 1e6:.0f} MB"
    if found.refused:
        _say(
            f"{found.machine}: refused {found.connected_s:.0f} s after power-on, as it must; {qemu}"
        )
        return
    own = (
        "" if found.peak_rss_bytes is None else f"the agent's {found.peak_rss_bytes / 1e6:.0f} MB, "
    )
    _say(
        f"{found.machine}: connected {found.connected_s:.0f} s after power-on, {found.steps} steps "
        f"by {found.trained_s:.0f} s; {own}{qemu}"
    )


def _say(line: str) -> None:
    print(f"slfac image: {line}", file=sys.stderr, flush=True)

"""An image whose base is only unpacked: as real as can be had in a minute without emulation.

``python -m harness.small_base OUT CACHE`` builds one.
"""

from __future__ import annotations

import sys
from pathlib import Path

from harness.cards import with_tools
from slfac.device.image.build.boards import BOARDS
from slfac.device.image.build.image import Built, build_image
from slfac.device.image.build.lock import Lock
from slfac.device.image.build.recipe import Recipe, trixie
from slfac.wire.ending import explain

HOOKS = Path(__file__).with_name("small_hooks")
TIME_S = 1_764_000_000
MIB = 1 << 20


def small_recipe() -> Recipe:
    """The kernel, the Pi's firmware and what these need, from Debian's own archives."""
    whole = trixie()
    return Recipe(
        suite=whole.suite,
        abi=whole.abi,
        sources=whole.sources,
        packages=(
            *("base-files", "initramfs-tools", "linux-image-arm64/trixie-backports"),
            "raspi-firmware",
        ),
        options=whole.options,
        variant="extract",
        hooks=HOOKS,
    )


def build_small(out: Path, cache: Path, lock: Lock | None = None, *, again: bool = False) -> Built:
    """Build it for a Raspberry Pi, saying what goes on.

    Args:
        out: Folder for the image.
        cache: Where packages and the base are kept.
        lock: Of exactly these packages.
        again: Make the base anew although one is kept.
    """
    with_tools("mmdebstrap", "apt-get", "dpkg-deb", "mke2fs", "debugfs", "uv")
    return build_image(
        BOARDS["rpi"],
        small_recipe(),
        out=out,
        cache=cache,
        time_s=TIME_S,
        data_bytes=8 * MIB,
        lock=lock,
        again=again,
        on_status=lambda line: print(line, flush=True),  # noqa: T201
    )


def main() -> int:
    """Build it into the folders that are given; the exit code."""
    try:
        build_small(Path(sys.argv[1]), Path(sys.argv[2]))
    except BaseException as error:  # noqa: BLE001 - as the command line does
        return explain("slfac image", error, extra="image")
    return 0


if __name__ == "__main__":
    sys.exit(main())

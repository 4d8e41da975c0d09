"""Puts slfac into the root file system of the user's own ``Linux_for_Tegra``."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from slfac.device.image.jetson.installer import write_installer
from slfac.device.image.jetson.target import Tegra
from slfac.device.image.layer.archive import LayerArchive
from slfac.device.image.layer.tree import Tree
from slfac.wire.errors import ImageError

_LIMIT_S = 1800.0


def apply(
    tegra: Tegra,
    *,
    make_layer: Callable[[str, Tree], LayerArchive],
    settings: bytes = b"",
    gpu_wheel: Path | None = None,
    nvpmodel: int | None = None,
    on_status: Callable[[str], None],
) -> None:
    """Install into a root file system what a Jetson's installer would install there.

    Args:
        tegra: Where.
        make_layer: Makes the layer of a Python, such as ``cp310``, with files besides.
        settings: ``device.json`` of one board; empty for none.
        gpu_wheel: The user's own onnxruntime for the GPU; None for the CPU's.
        nvpmodel: Power mode at each start; None for the board's own.
        on_status: Told what the installer says.

    Raises:
        ImageError: It cannot be installed.
    """
    with tempfile.TemporaryDirectory(prefix="slfac-jetson-", dir="/var/tmp") as name:
        installer = Path(name) / "installer"
        jetpacks = (tegra.release.jetpack,)
        write_installer(installer, jetpacks=jetpacks, make_layer=make_layer, settings=settings)
        command = ["sh", str(installer), "--root", str(tegra.root.resolve())]
        command += ["--gpu-wheel", str(gpu_wheel.resolve())] if gpu_wheel is not None else []
        command += ["--nvpmodel", str(nvpmodel)] if nvpmodel is not None else []
        done = subprocess.run(  # noqa: S603 - our own script; its arguments go through no shell
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=_LIMIT_S,
            stdin=subprocess.DEVNULL,
        )
    for line in done.stdout.splitlines():
        on_status(line.removeprefix("slfac: "))
    if done.returncode:
        said = " | ".join(line.removeprefix("slfac: ") for line in done.stderr.splitlines()[-4:])
        raise ImageError(f"{tegra.root}: {said or f'the installer ended with {done.returncode}'}")

"""Brings the bundle to the server's host."""

from __future__ import annotations

import asyncio
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

from slfac import export
from slfac.testbed.hosts.deploy import Ready
from slfac.testbed.inventory import Run
from slfac.wire.bundle import open_bundle


async def send_bundle(server: Ready, run: Run, say: Callable[[str], None]) -> None:
    """Have the bundle of a run on the server's host.

    Args:
        server: The host.
        run: What to train.
        say: Told what is being done.

    Raises:
        BundleError: The bundle cannot be read.
        ExportError: The model cannot be exported.
        HostError: It cannot be written there.
        LinkError: The connection broke.
    """
    with tempfile.TemporaryDirectory(prefix="slfac-bundle-") as name:
        folder = Path(name) / "bundle"
        if run.bundle is not None:
            folder = run.bundle
            await asyncio.to_thread(open_bundle, folder)
        else:
            await asyncio.to_thread(_export, run, folder, say)
        packed = Path(name) / "bundle.tar.gz"
        with tarfile.open(packed, "w:gz", compresslevel=1) as archive:
            for file in sorted(folder.iterdir()):
                archive.add(file, file.name)
        say(f"sending the bundle, {packed.stat().st_size / 1e6:.1f} MB")
        target = f"{server.host.folder}/bundle"
        await server.host.send("place", packed, lambda _: None, folder=target)


def _export(run: Run, folder: Path, say: Callable[[str], None]) -> None:
    model = run.model
    assert model is not None  # noqa: S101 - the inventory has one or the other
    say(f"exporting {model.name}, cut behind {model.cut}")
    export.export_bundle(
        model=model.name,
        kwargs=model.kwargs,
        cut=model.cut,
        input_shape=model.input_shape,
        out=folder,
        num_classes=model.classes,
        seed=int(run.settings.get("seed", 0)),
    )

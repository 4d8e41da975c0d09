"""Builds an image: base, layer, partitions, and what lies beside the file."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slfac import __version__
from slfac.device.image.build.base import Base, get_base
from slfac.device.image.build.bill import bill_of_materials
from slfac.device.image.build.blockmap import block_map
from slfac.device.image.build.boards import BoardImage
from slfac.device.image.build.compress import compress
from slfac.device.image.build.disk import make_fat, used_ranges, write_disk
from slfac.device.image.build.files import sha256_of, telling_space, workplace
from slfac.device.image.build.layout import DATA, ROOT, Layout, lay_out, partuuid
from slfac.device.image.build.lock import Lock
from slfac.device.image.build.recipe import Recipe
from slfac.device.image.build.running import run_lines
from slfac.device.image.build.system import system_tree
from slfac.device.image.description import SCHEMA
from slfac.device.image.layer.edge import edge_tree, layer_version
from slfac.device.image.layer.wheels import lock_file
from slfac.device.image.mark import MARK, Mark, pack_mark

Status = Callable[[str], None]
_BOOT_BYTES = 256 << 20
_ASSEMBLE = Path(__file__).with_name("assemble.py")
# The namespace's root may not be allowed to look into the folder of this Python.
_PYTHON = "/usr/bin/python3"
_PACKAGES = "packages.tsv"


@dataclass(frozen=True)
class Built:
    """An image that was built.

    Attributes:
        path: Its file, compressed.
        size_bytes: Its size, decompressed.
        compressed_bytes: Size of the file.
        sha256: Of the decompressed image.
        base_s: How long the base took; 0 for one that was kept.
        rest_s: How long everything else took.
    """

    path: Path
    size_bytes: int
    compressed_bytes: int
    sha256: str
    base_s: float
    rest_s: float


def build_image(
    board: BoardImage,
    recipe: Recipe,
    *,
    out: Path,
    cache: Path,
    time_s: int,
    data_bytes: int,
    wheel: Path | None = None,
    lock: Lock | None = None,
    again: bool = False,
    on_status: Status,
) -> Built:
    """Build an image.

    Args:
        board: What it starts.
        recipe: What its base is made of.
        out: Folder for the image and what lies beside it.
        cache: Where bases are kept.
        time_s: What a new base takes for the present, in seconds since 1970.
        data_bytes: Size of the partition for data.
        wheel: slfac's own wheel; None to build or fetch it.
        lock: Make the base of exactly these packages.
        again: Make the base anew although one is kept.
        on_status: Told what goes on.

    Returns:
        What was built.

    Raises:
        ImageError: A step failed.
        MissingExtraError: A program or package is missing.
    """
    with telling_space(out, cache):
        began_s = time.monotonic()
        out.mkdir(parents=True, exist_ok=True)
        base = get_base(recipe, cache, time_s=time_s, lock=lock, again=again, on_status=on_status)
        based_s = time.monotonic()
        on_status(f"layer {layer_version(recipe.abi)}")
        tree = edge_tree(recipe.abi, wheel)
        name = f"slfac-{board.name}-{__version__}.img"
        with workplace("slfac-image-") as work:
            signature = _signature(base, tree.tar(base.time_s), board)
            tree.entries |= system_tree(signature, f"slfac-{board.name}", recipe.sources).entries
            (work / "layer.tar").write_bytes(tree.tar(base.time_s))
            on_status("root file system")
            root_bytes = _assemble(work, base, board, signature)
            on_status("boot partition and disk")
            layout = lay_out(
                boot_bytes=_BOOT_BYTES,
                data_bytes=data_bytes,
                root_bytes=root_bytes,
                signature=signature,
            )
            made = _Making(work, work / name, layout, board, base, recipe)
            made.disk()
            on_status("compressing")
            built = made.put_out(out)
        rest_s = time.monotonic() - based_s
        return Built(*built, base_s=(based_s - began_s) * base.fresh, rest_s=rest_s)


def _signature(base: Base, layer: bytes, board: BoardImage) -> int:
    """The disk's number: another one for another content."""
    told = hashlib.sha256(f"{base.sha256} {board}".encode() + hashlib.sha256(layer).digest())
    return int.from_bytes(told.digest()[:4], "big") or 1


def _assemble(work: Path, base: Base, board: BoardImage, signature: int) -> int:
    """Make the root file system in a namespace; its size."""
    spec = {
        "boot": board.boot,
        "take": {_PACKAGES: "usr/share/slfac-packages.tsv"},
        "remove": ["initrd.img", "initrd.img.old", "vmlinuz", "vmlinuz.old", "boot/firmware"],
        "uuid": str(uuid.uuid5(uuid.NAMESPACE_OID, f"slfac root {signature:08x}")),
        "time_s": base.time_s,
    }
    (work / "assemble.json").write_text(json.dumps(spec), encoding="utf-8")
    shutil.copyfile(_ASSEMBLE, work / "assemble.py")
    command = [
        "mmdebstrap",
        "--unshare-helper",
        _PYTHON if Path(_PYTHON).exists() else sys.executable,
        "-I",
        str(work / "assemble.py"),
        str(work),
    ]
    run_lines(command, on_line=lambda _: None, given=base.archive)
    return (work / "root.ext4").stat().st_size


@dataclass(frozen=True)
class _Making:
    """An image that is being put together."""

    work: Path
    image: Path
    layout: Layout
    board: BoardImage
    base: Base
    recipe: Recipe

    def disk(self) -> None:
        """Make the boot partition, and the disk of both."""
        # What the namespace's root has made is its own; this user's copy can be added to.
        boot = self.work / "fat"
        shutil.copytree(self.work / "boot", boot)
        mark = Mark(board=self.board.name, version=__version__, data_partition=DATA)
        (boot / MARK).parent.mkdir()
        (boot / MARK).write_bytes(pack_mark(mark))
        for name, text in {**self.board.files, "cmdline.txt": f"{self._line()}\n"}.items():
            (boot / name).write_text(text, encoding="utf-8")
        size, number = self.layout.boot.size_bytes, self.layout.signature
        make_fat(self._boot, size, boot, number=number, time_s=self.base.time_s)
        write_disk(self.image, self.layout, boot=self._boot, root=self._root)

    def put_out(self, out: Path) -> tuple[Path, int, int, str]:
        """Write the image and what lies beside it."""
        sha256, target = sha256_of(self.image), out / f"{self.image.name}.zst"
        compress(self.image, target)
        used = used_ranges(self.layout, boot=self._boot, root=self._root)
        (out / f"{self.image.name}.bmap").write_bytes(block_map(self.image, used))
        bill = bill_of_materials(
            name=self.image.name,
            packages=(self.work / _PACKAGES).read_text(encoding="utf-8"),
            lock=lock_file(self.recipe.abi).read_text(encoding="utf-8"),
            suite=self.recipe.suite,
            time_s=self.base.time_s,
            sha256=sha256,
        )
        (out / f"{self.image.name}.cdx.json").write_bytes(bill)
        (out / f"{self.image.name}.lock.json").write_bytes(self.base.lock.text())
        # The description comes last: what it describes is there.
        text = json.dumps(self._description(target, sha256), indent=1) + "\n"
        (out / f"{self.image.name}.json").write_text(text, encoding="utf-8")
        return target, self.layout.size_bytes, target.stat().st_size, sha256

    def _description(self, target: Path, sha256: str) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "board": self.board.name,
            "title": self.board.title,
            "size_bytes": self.layout.size_bytes,
            "sha256": sha256,
            "file": target.name,
            "file_bytes": target.stat().st_size,
            "file_sha256": sha256_of(target),
            "slfac": __version__,
            "layer": layer_version(self.recipe.abi),
            "suite": self.recipe.suite,
            "base_sha256": self.base.sha256,
            "lock": self.base.lock.digest,
            "made": self.base.time_s,
            "command_line": self._line(),
        }

    def _line(self) -> str:
        return self.board.command_line(partuuid(self.layout.signature, ROOT))

    @property
    def _boot(self) -> Path:
        return self.work / "boot.fat"

    @property
    def _root(self) -> Path:
        return self.work / "root.ext4"

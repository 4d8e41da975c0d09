"""Puts slfac onto a Raspberry Pi OS that the user has downloaded, without mounting it.

The layer lies on the boot partition as ``slfac/layer.tar.gz``, and what installs it at the first
boot as cloud-init's ``vendor-data``, in the form ``#cloud-boothook``. Not in ``user-data``: that
belongs to whoever starts the board, and Raspberry Pi Imager writes it, ``network-config``,
``meta-data`` and a part of ``cmdline.txt`` anew (its ``src/downloadthread.cpp``); it leaves
vendor-data alone, and cloud-init handles both
(https://docs.cloud-init.io/en/latest/reference/datasources/nocloud.html,
https://docs.cloud-init.io/en/latest/explanation/vendordata.html). A boothook runs at each boot,
early; ``runcmd`` of vendor-data would be replaced by that of Imager's user-data.
"""

from __future__ import annotations

import calendar
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from slfac import __version__
from slfac.device.image.build.bill import bill_of_materials
from slfac.device.image.build.blockmap import block_map
from slfac.device.image.build.compress import compress, require_zstd
from slfac.device.image.build.disk import ext4_used
from slfac.device.image.build.files import sha256_of, workplace
from slfac.device.image.build.image import Built
from slfac.device.image.description import SCHEMA
from slfac.device.image.fat import Fat
from slfac.device.image.flash.source import read_pieces
from slfac.device.image.layer.archive import LayerArchive, script
from slfac.device.image.layer.wheels import lock_file
from slfac.device.image.mark import MARK, RASPIOS, Mark, pack_mark
from slfac.device.image.programs import PACKAGES, find_program
from slfac.device.image.raspios.look import Raspios, look
from slfac.wire.errors import ImageError, MissingExtraError

Status = Callable[[str], None]
LAYER: Final = "slfac/layer.tar.gz"
VENDOR: Final = "vendor-data"
_HOOK: Final = Path(__file__).with_name("hook.sh")
# Asked for before minutes go into what needs them.
_PROGRAMS: Final = ("mcopy", "mshowfat", "debugfs", "dumpe2fs")
_PIECE: Final = 1 << 20
# The boot partition must keep some for settings, and for the kernels of updates.
_SPARE_BYTES: Final = 32 << 20
_SUFFIXES: Final = re.compile(r"(\.img)?(\.(xz|zst|gz))?\Z")


def build_raspios(
    base: Path,
    *,
    out: Path,
    time_s: int | None,
    make_layer: Callable[[str, int], LayerArchive],
    on_status: Status,
) -> Built:
    """Make an image from a Raspberry Pi OS.

    Args:
        base: The download; compressed by xz, zstd or gzip, or not at all.
        out: Folder for the image and what lies beside it.
        time_s: What is taken for the present, in seconds since 1970; None for the base's own date.
        make_layer: Makes the layer of a Python, such as ``cp313``, as of a time.
        on_status: Told what goes on.

    Returns:
        What was built.

    Raises:
        ImageError: The base cannot be used, or a step failed.
        MissingExtraError: A program or package is missing.
    """
    began_s = time.monotonic()
    _require_tools()
    name = f"slfac-{_SUFFIXES.sub('', base.name)}-{__version__}.img"
    try:
        out.mkdir(parents=True, exist_ok=True)
        with workplace("slfac-image-") as work:
            # Named as the download is, which messages are about.
            image = work / base.name
            on_status(f"reading {base}")
            base_sha256 = _copy(base, image)
            found = look(image)
            on_status(f"Raspberry Pi OS of {found.date}, {found.codename}, Python {found.abi}")
            made_s = time_s if time_s is not None else _date_s(found.date)
            layer = make_layer(found.abi, made_s)
            on_status(f"layer {layer.version}: {len(layer.data) / 1e6:.0f} MB")
            put_layer(found, layer, made_s)
            on_status("compressing")
            told = {"base": base.name, "base_sha256": base_sha256, "made": made_s}
            built = _put_out(found, layer, out / name, told)
    except OSError as error:
        raise ImageError(f"{out} cannot be written: {error.strerror}") from error
    return Built(*built, base_s=0.0, rest_s=time.monotonic() - began_s)


def _require_tools() -> None:
    require_zstd()
    missing = [name for name in _PROGRAMS if find_program(name) is None]
    if missing:
        packages = sorted({PACKAGES.get(name, name) for name in missing})
        raise MissingExtraError(
            f"this machine lacks {', '.join(missing)}", f"sudo apt install {' '.join(packages)}"
        )


def put_layer(found: Raspios, layer: LayerArchive, time_s: int) -> None:
    """Write the layer, what installs it, and the mark onto the boot partition.

    Args:
        found: The image.
        layer: The layer.
        time_s: When the files are said to have been made.

    Raises:
        ImageError: There is no room, or it cannot be written.
        MissingExtraError: mtools is not installed.
    """
    fat = Fat(found.path, found.boot, time_s)
    needed, free = len(layer.data) + _SPARE_BYTES, fat.free_bytes()
    if free < needed:
        raise ImageError(
            f"the boot partition of {found.path.name} has {free / 1e6:.0f} MB left, the layer and "
            f"what updates need take {needed / 1e6:.0f} MB: {(needed - free) / 1e6:.0f} MB are "
            "missing",
            "give the image as it was downloaded",
        )
    fat.write(LAYER, layer.data)
    # The mark comes last: an image with it has everything else.
    hook = f"#cloud-boothook\n{script(layer.values(), _HOOK)}"
    fat.write(VENDOR, hook.encode())
    fat.write(MARK, pack_mark(Mark(board=RASPIOS, version=__version__)))


def _copy(base: Path, target: Path) -> str:
    """Copy an image, decompressed, with holes where it holds nothing; the base file's sha256."""
    size = 0
    with target.open("wb") as stream:
        for piece in read_pieces(base):
            if piece.strip(b"\0"):
                stream.seek(size)
                stream.write(piece)
            size += len(piece)
        stream.truncate(size)
    return sha256_of(base)


def _put_out(
    found: Raspios, layer: LayerArchive, to: Path, told: dict[str, Any]
) -> tuple[Path, int, int, str]:
    """Write the image and what lies beside it."""
    image = found.path
    sha256, target = sha256_of(image), to.with_name(f"{to.name}.zst")
    compress(image, target)
    to.with_name(f"{to.name}.bmap").write_bytes(block_map(image, _used(found)))
    bill = bill_of_materials(
        name=to.name,
        packages=_packages(found),
        lock=lock_file(found.abi).read_text(encoding="utf-8"),
        suite=found.codename,
        time_s=told["made"],
        sha256=sha256,
    )
    to.with_name(f"{to.name}.cdx.json").write_bytes(bill)
    size_bytes, file_bytes = image.stat().st_size, target.stat().st_size
    description = {
        "schema": SCHEMA,
        "board": RASPIOS,
        "title": f"Raspberry Pi OS of {found.date} with slfac",
        "size_bytes": size_bytes,
        "sha256": sha256,
        "file": target.name,
        "file_bytes": file_bytes,
        "file_sha256": sha256_of(target),
        "slfac": __version__,
        "layer": layer.version,
        "suite": found.codename,
        **told,
    }
    # The description comes last: what it describes is there.
    text = json.dumps(description, indent=1) + "\n"
    to.with_name(f"{to.name}.json").write_text(text, encoding="utf-8")
    return target, size_bytes, file_bytes, sha256


def _used(found: Raspios) -> list[tuple[int, int]]:
    """Parts of the disk that a card must have, whatever it held before."""
    root = found.root.start_bytes
    ext4 = [(root + a, root + b) for a, b in ext4_used(found.root_files.where)]
    # FAT's tables come first; behind the last byte that is not zero there are free clusters only.
    end = found.boot.start_bytes + found.boot.size_bytes
    return [(0, _last_byte(found.path, end)), *ext4]


def _last_byte(image: Path, end: int) -> int:
    """The last byte before an end that is not zero, and one more."""
    with image.open("rb") as stream:
        while end > 0:
            begin = max(end - _PIECE, 0)
            stream.seek(begin)
            held = stream.read(end - begin).rstrip(b"\0")
            if held:
                return begin + len(held)
            end = begin
    return 0


def _packages(found: Raspios) -> str:
    """What dpkg has installed there, as the bill of materials takes it."""
    text = found.root_files.read("/var/lib/dpkg/status").decode("utf-8", "replace")
    lines = []
    for paragraph in text.split("\n\n"):
        fields = dict(
            line.partition(": ")[::2] for line in paragraph.splitlines() if line[:1].isalpha()
        )
        if not fields.get("Status", "").endswith(" installed"):
            continue
        name, version = fields.get("Package", ""), fields.get("Version", "")
        source, _, rest = fields.get("Source", name).partition(" ")
        row = (name, version, fields.get("Architecture", ""), source, rest.strip("()") or version)
        lines.append("\t".join(row))
    return "\n".join(lines)


def _date_s(date: str) -> int:
    """A day's beginning, in seconds since 1970; the present's where none is known."""
    try:
        return calendar.timegm(time.strptime(date, "%Y-%m-%d"))
    except ValueError:
        return int(time.time())

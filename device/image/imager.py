"""The list of images that Raspberry Pi Imager offers: its ``os_list`` of JSON.

Fields and their meaning: ``doc/json-schema/os-list-schema.json`` and ``doc/schema-notes.md`` of
https://github.com/raspberrypi/rpi-imager; ``init_format``: ``doc/os_customisation_formats.md``
there. Imager 2 offers to customise an image only if such a list says how, also for files on this
machine.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote, urlsplit

import msgspec
from msgspec import Meta

from slfac.device.image.build.files import sha256_of
from slfac.device.image.description import Sha256
from slfac.device.image.mark import RASPIOS
from slfac.wire.errors import ImageError, SettingsError

#: A list of files on this machine; Imager opens such a file with a double click.
LOCAL_NAME: Final = "slfac.rpi-imager-manifest"
#: A list of files on a web server.
ONLINE_NAME: Final = "os_list.json"
_ICON_NAME: Final = "slfac.svg"
_ICON: Final = """\
<svg xmlns="http://www.w3.org/2000/svg" width="40" height="40" viewBox="0 0 40 40">
<rect width="40" height="40" rx="8" fill="#14532d"/>
<path d="M8 28V12h7v16zM25 28V12h7v16z" fill="#bbf7d0"/>
<path d="M17 17h6M17 23h6" stroke="#fff" stroke-width="2" stroke-dasharray="2 2"/>
</svg>
"""
# Imager writes user-data, network-config and meta-data of a Raspberry Pi OS; our own image would
# not read them.
_INIT: Final = {"rpi": "none", RASPIOS: "cloudinit-rpi"}
_DEVICES: Final = (
    ("Raspberry Pi 5", "Models B, 500, and Compute Module 5", "pi5-64bit"),
    ("Raspberry Pi 4", "Models B, 400, and Compute Module 4", "pi4-64bit"),
    ("Raspberry Pi 3", "Models A+, B, B+, and Compute Module 3", "pi3-64bit"),
    ("Raspberry Pi Zero 2 W", "", "pi3-64bit"),
)


class _Described(msgspec.Struct, frozen=True, kw_only=True):
    board: str
    title: str
    slfac: str
    file: Annotated[str, Meta(pattern=r"^[^/\x00]+\Z")]
    file_bytes: int
    file_sha256: Sha256
    size_bytes: int
    sha256: Sha256
    made: Annotated[int, Meta(ge=0, le=1 << 36)]


def write_list(folder: Path, url: str | None = None) -> tuple[Path, int]:
    """Write the list of the images in a folder, and the icon that it names.

    Args:
        folder: Where ``slfac image build`` has put images for Raspberry Pis.
        url: Where that folder is on a web server; None for a list of the files as they lie here.

    Returns:
        The list, and how many images are in it.

    Raises:
        ImageError: There is none, or one is not what its description says.
        SettingsError: The address is none.
    """
    if url is not None and not _is_address(url):
        raise SettingsError(f"--url is {url!r}", "give https://HOST/FOLDER, where the images are")
    where = (url or folder.absolute().as_uri()).rstrip("/")
    if not folder.is_dir():
        raise ImageError(f"{folder} is no folder", "name the folder that images were built into")
    entries = [_entry(folder, told, where) for told in _images(folder)]
    if not entries:
        raise ImageError(
            f"{folder} holds no image for Raspberry Pis",
            "`slfac image build --board rpi`, or `--base` with your own Raspberry Pi OS, makes one",
        )
    target = folder / (LOCAL_NAME if url is None else ONLINE_NAME)
    text = json.dumps({"imager": {"devices": _devices()}, "os_list": entries}, indent=1) + "\n"
    try:
        (folder / _ICON_NAME).write_text(_ICON, encoding="utf-8")
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ImageError(
            f"cannot write {target}: {error.strerror}", "check the path, and who may write there"
        ) from error
    return target, len(entries)


def _is_address(url: str) -> bool:
    if not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _images(folder: Path) -> Iterator[_Described]:
    """Descriptions of images for Raspberry Pis whose files are there; the newest first."""
    found = []
    for path in folder.glob("*.img.json"):
        try:
            told = msgspec.json.decode(path.read_bytes(), type=_Described)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ImageError(f"{path} does not describe an image: {error}", "delete it") from error
        if told.board in _INIT and (folder / told.file).exists():
            found.append(told)
    yield from sorted(found, key=lambda told: (-told.made, told.file))


def _entry(folder: Path, told: _Described, where: str) -> dict[str, Any]:
    file = folder / told.file
    try:
        same = file.stat().st_size == told.file_bytes and sha256_of(file) == told.file_sha256
    except OSError as error:
        raise ImageError(
            f"cannot read {file}: {error.strerror}", "check the path, and who may read it"
        ) from error
    if not same:
        raise ImageError(f"{file} is not what its description says", "fetch or build it again")
    entry = {
        "name": f"slfac {told.slfac}: {told.title}",
        "description": "Trains on this board against a server of yours",
        "icon": f"{where}/{_ICON_NAME}",
        "url": f"{where}/{quote(told.file)}",
        "extract_size": told.size_bytes,
        "extract_sha256": told.sha256,
        "image_download_size": told.file_bytes,
        "image_download_sha256": told.file_sha256,
        "release_date": datetime.fromtimestamp(told.made, tz=timezone.utc).date().isoformat(),
        "init_format": _INIT[told.board],
        "architecture": "armv8",
        "devices": sorted({tag for _, _, tag in _DEVICES}),
    }
    block_map = f"{told.file.removesuffix('.zst')}.bmap"
    return entry | (
        {"bmap_url": f"{where}/{quote(block_map)}"} if (folder / block_map).exists() else {}
    )


def _devices() -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "description": text,
            "tags": [tag],
            "matching_type": "exclusive",
            "architecture": "armv8",
        }
        for name, text, tag in _DEVICES
    ]

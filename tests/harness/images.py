"""Small disk images, what lies beside them, and machines with drives of every kind."""

from __future__ import annotations

import gzip
import hashlib
import json
import lzma
import random
from pathlib import Path

from backports import zstd

CHUNK = 4 << 20
BLOCK = 4096


def quiet(*told: object) -> None:
    """Progress that nobody looks at."""
    del told


def disk_image(pieces: int = 3, extra: int = 512, *, empty: tuple[int, ...] = ()) -> bytes:
    """An image with a mark of a partition table.

    Args:
        pieces: How many pieces of 4 MiB it has.
        extra: Bytes behind them.
        empty: Pieces that hold nothing.
    """
    draw = random.Random(7)
    # A block that repeats is as good as chance, and much sooner made.
    data = bytearray(b"".join(draw.randbytes(64) * (CHUNK // 64) for _ in range(pieces)))
    data += draw.randbytes(extra)
    for piece in empty:
        data[piece * CHUNK : (piece + 1) * CHUNK] = bytes(CHUNK)
    data[510:512] = b"\x55\xaa"
    return bytes(data)


def packed(data: bytes, suffix: str) -> bytes:
    """An image as a file of this kind."""
    pack = {
        "": lambda raw: raw,
        ".zst": lambda raw: zstd.compress(raw, 1),
        ".xz": lambda raw: lzma.compress(raw, preset=0),
        ".gz": lambda raw: gzip.compress(raw, 1),
    }
    return pack[suffix](data)


def describe(image: Path, data: bytes, **changes: object) -> Path:
    """Write the description of an image."""
    told = {
        "schema": 1,
        "board": "qemu",
        "size_bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        **changes,
    }
    path = image.with_name(image.name.split(".img")[0] + ".img.json")
    path.write_text(json.dumps(told))
    return path


def block_map(data: bytes, *, spoil: str = "") -> bytes:
    """A block map as bmaptool writes it.

    Args:
        data: The image.
        spoil: ``checksum``: that of its first range is wrong.
    """
    used = [bool(data[at : at + BLOCK].strip(b"\0")) for at in range(0, len(data), BLOCK)]
    ranges, begin = [], None
    for number, held in enumerate([*used, False]):
        if held and begin is None:
            begin = number
        elif not held and begin is not None:
            ranges.append((begin, number - 1))
            begin = None
    lines = []
    for first, last in ranges:
        digest = hashlib.sha256(data[first * BLOCK : (last + 1) * BLOCK]).hexdigest()
        if spoil == "checksum" and not lines:
            digest = "0" * 64
        span = f"{first}-{last}" if first != last else f"{first}"
        lines.append(f'<Range chksum="{digest}"> {span} </Range>')
    return signed_map(
        '<?xml version="1.0" ?>\n<bmap version="2.0">\n'
        f"<ImageSize> {len(data)} </ImageSize>\n<BlockSize> {BLOCK} </BlockSize>\n"
        f"<BlocksCount> {len(used)} </BlocksCount>\n<ChecksumType> sha256 </ChecksumType>\n"
        "<BmapFileChecksum> CHECKSUM </BmapFileChecksum>\n"
        f"<BlockMap>\n{chr(10).join(lines)}\n</BlockMap>\n</bmap>\n"
    )


def signed_map(text: str) -> bytes:
    """Put the checksum of a block map into it."""
    zeros = text.replace("CHECKSUM", "0" * 64).encode()
    return text.replace("CHECKSUM", hashlib.sha256(zeros).hexdigest()).encode()


def node(name: str, **fields: object) -> dict:
    """A device as lsblk tells of it."""
    return {
        "name": name,
        "path": f"/dev/{name}",
        "type": "disk",
        "size": 32_000_000_000,
        "ro": False,
        "rm": False,
        "hotplug": False,
        "tran": None,
        "vendor": None,
        "model": None,
        "serial": None,
        "label": None,
        "fstype": None,
        "maj:min": None,
        "mountpoints": [None],
        **fields,
    }


def laptop() -> list[dict]:
    """A laptop with a card in its slot, sticks, disks in use, and a reader without a card."""
    stick = {"rm": True, "hotplug": True, "tran": "usb"}
    luks = node(
        "nvme0n1p2",
        type="part",
        fstype="crypto_LUKS",
        children=[
            node(
                "cryptroot",
                path="/dev/mapper/cryptroot",
                type="crypt",
                children=[
                    node("vg-root", type="lvm", mountpoints=["/"], **{"maj:min": "252:1"}),
                    node("vg-swap", type="lvm", mountpoints=["[SWAP]"]),
                ],
            )
        ],
    )
    return [
        node(
            "nvme0n1",
            model="Samsung SSD 980",
            tran="nvme",
            children=[node("nvme0n1p1", type="part", mountpoints=["/boot/efi"]), luks],
        ),
        node("sda", model="ST4000", tran="sata", size=4_000_000_000_000),
        node("sdb", **stick, vendor="SanDisk ", model="Ultra\x1b[31m", serial="4C530001"),
        node(
            "sdc",
            **stick,
            model="Data",
            children=[
                node("sdc1", type="part", label="PHOTOS", mountpoints=["/media/me/PHOTOS"]),
            ],
        ),
        node("sdd", **stick, model="Reader", size=0),
        node("sde", **stick, model="Locked", ro=True),
        node(
            "sdf", **stick, model="Pool", children=[node("sdf1", type="part", fstype="zfs_member")]
        ),
        node("sdg", **stick, model="Array", children=[node("md127", type="raid1")]),
        node("sdh", **stick, model="Old", children=[node("sdh1", type="part", label="boot")]),
        node("sdi", **stick, model="Huge", size=5_000_000_000_000),
        node("mmcblk0", tran=None, model="SD32G"),
        node("mmcblk1boot0", size=4_194_304),
        node("sr0", type="rom", rm=True),
        node("loop0", type="loop", mountpoints=["/snap/core"]),
        node("loop1", type="loop"),
    ]


def lsblk(nodes: list[dict]) -> bytes:
    """What lsblk prints of such devices."""
    return json.dumps({"blockdevices": nodes}).encode()

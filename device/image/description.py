"""What lies beside an image: which file it is, how large it becomes, and its hash."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from slfac.wire.errors import ImageError

SCHEMA = 1
_MOST_BYTES = 1 << 20
_SUFFIXES = (".zst", ".xz", ".gz")
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]


class Described(msgspec.Struct, frozen=True, kw_only=True):
    """What a description says of the image that is written to drives.

    Attributes:
        schema: Version of this structure.
        board: What it boots: ``rpi``, ``qemu``.
        size_bytes: Its size, decompressed.
        sha256: Of its bytes, decompressed.
    """

    schema: int
    board: str
    size_bytes: Annotated[int, Meta(gt=0)]
    sha256: Sha256


def beside(image: Path, suffix: str) -> Path:
    """The file that describes an image.

    Args:
        image: Such as ``slfac-rpi.img.zst``.
        suffix: Such as ``.json``.

    Returns:
        Such as ``slfac-rpi.img.json``, whether it is there or not.
    """
    name = image.name
    for compressed in _SUFFIXES:
        name = name.removesuffix(compressed)
    return image.with_name(name + suffix)


def read_description(image: Path) -> Described | None:
    """Read the description beside an image.

    Args:
        image: The image.

    Returns:
        What it says; None where there is none.

    Raises:
        ImageError: There is one that cannot be read.
    """
    path = beside(image, ".json")
    try:
        with path.open("rb") as stream:
            data = stream.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ImageError(
            f"cannot read {path}: {error.strerror}", "check the path, and who may read it"
        ) from error
    try:
        if len(data) > _MOST_BYTES:
            raise msgspec.ValidationError("it is too long")
        described = msgspec.json.decode(data, type=Described)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ImageError(
            f"{path} does not describe an image: {error}", "delete it, or fetch it again"
        ) from error
    if described.schema != SCHEMA:
        raise ImageError(
            f"{path} is of schema {described.schema}, this release reads {SCHEMA}",
            "write this image with the release of slfac that built it",
        )
    return described

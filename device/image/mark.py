"""The mark by which an image of ours is known: ``slfac/image.json`` on its boot partition."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from slfac.wire.errors import ImageError

SCHEMA: Final = 1
MARK: Final = "slfac/image.json"
#: The board of images made from somebody's Raspberry Pi OS.
RASPIOS: Final = "raspios"
#: Name of the file system that a data partition gets.
DATA_LABEL: Final = "slfac-data"
MOST_BYTES: Final = 64 * 1024


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """What an image says of itself; fields may be added.

    Attributes:
        schema: Version of this structure.
        board: What it boots: ``rpi``, ``qemu``.
        version: Release of slfac in it.
        data_partition: Number of the partition for data; None where it has none.
    """

    schema: int = SCHEMA
    board: str
    version: str
    data_partition: Annotated[int, Meta(ge=1, le=128)] | None = None


class _Version(msgspec.Struct):
    schema: int


def pack_mark(mark: Mark) -> bytes:
    """The file's bytes; the same mark gives the same.

    Args:
        mark: What to say.
    """
    return msgspec.json.format(msgspec.json.encode(mark), indent=2) + b"\n"


def unpack_mark(data: bytes) -> Mark:
    """Read the file's bytes.

    Args:
        data: The bytes.

    Raises:
        ImageError: They are no mark, or one of another schema.
    """
    try:
        schema = msgspec.json.decode(data, type=_Version).schema
        if schema == SCHEMA:
            return msgspec.json.decode(data, type=Mark)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ImageError(
            f"{MARK} on the boot partition is damaged: {error}", "write the image again"
        ) from error
    raise ImageError(
        f"{MARK} on the boot partition is of schema {schema}, this release reads {SCHEMA}",
        "use the release of slfac that built the image",
    )

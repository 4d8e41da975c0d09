"""An image as a stream of bytes, whatever it is compressed with, and what is known of it."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import importlib
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from slfac.device.image.description import Described, beside, read_description
from slfac.device.image.flash.bmap import BlockMap, read_block_map
from slfac.wire.errors import ImageError, MissingExtraError

#: Images are read, hashed, written and read back in pieces of this size.
CHUNK_BYTES = 4 << 20
_SECTOR_BYTES = 512
_MBR_MARK = b"\x55\xaa"
_AGAIN = "fetch or build it again"
_CHECK = "check the path, and who may read it"
#: Told how many bytes of how many are done; 0 for a total that is not known.
Moved = Callable[[int, int], None]


@dataclass(frozen=True)
class Image:
    """An image that has been read once from its beginning to its end.

    Attributes:
        path: Its file.
        size_bytes: Its size, decompressed.
        sha256: Of all of its bytes.
        digests: sha256 of each piece of 4 MiB; the last may be shorter.
        block_map: Which parts hold something; None where no map lies beside it.
        described: What the description beside it says; None where there is none.
    """

    path: Path
    size_bytes: int
    sha256: str
    digests: tuple[bytes, ...]
    block_map: BlockMap | None
    described: Described | None

    def pieces(self) -> list[int]:
        """Numbers of the pieces that hold something; the first is always among them."""
        if self.block_map is None:
            return list(range(len(self.digests)))
        needed = {0}
        for extent in self.block_map.extents:
            needed.update(range(extent.begin // CHUNK_BYTES, -(-extent.end // CHUNK_BYTES)))
        return sorted(needed)


def read_pieces(path: Path) -> Iterator[bytes]:
    """Read an image, decompressed, piece by piece.

    Args:
        path: The image: plain, or compressed with zstd, xz or gzip, as its first bytes say.

    Yields:
        Pieces of 4 MiB; the last may be shorter.

    Raises:
        ImageError: It cannot be read, is cut short, or is damaged.
        MissingExtraError: It is compressed with zstd, and nothing here reads that.
    """
    try:
        with path.open("rb") as raw, contextlib.closing(_decompressed(raw)) as stream:
            while piece := stream.read(CHUNK_BYTES):
                # Only the end may be short: a decompressor hands out what it has.
                while len(piece) < CHUNK_BYTES and (more := stream.read(CHUNK_BYTES - len(piece))):
                    piece += more
                yield piece
    except EOFError as error:
        raise ImageError(f"{path} is cut short", _AGAIN) from error
    except (lzma.LZMAError, gzip.BadGzipFile, zlib.error) as error:
        raise ImageError(f"{path} is damaged: {error}", _AGAIN) from error
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error.strerror or error}", _CHECK) from error
    except Exception as error:
        # The error of zstd is a class of whichever module reads it.
        if type(error).__name__ != "ZstdError":
            raise
        raise ImageError(f"{path} is damaged: {error}", _AGAIN) from error


def examine(path: Path, moved: Moved) -> Image:
    """Read an image once, and compare it with what lies beside it.

    Args:
        path: The image.
        moved: Told how far it has come.

    Returns:
        What there is to know of it.

    Raises:
        ImageError: It is damaged, no disk image, or not what its description or block map says.
    """
    described, block_map = read_description(path), read_block_map(beside(path, ".bmap"))
    whole, checks = hashlib.sha256(), _Extents(path, block_map)
    digests: list[bytes] = []
    size = 0
    for piece in read_pieces(path):
        if not digests:
            _check_head(path, piece)
        whole.update(piece)
        checks.update(size, piece)
        digests.append(hashlib.sha256(piece).digest())
        size += len(piece)
        moved(size, described.size_bytes if described else 0)
    if not digests:
        raise ImageError(f"{path} is empty", _AGAIN)
    checks.finish(size)
    if described is not None and (size, whole.hexdigest()) != (
        described.size_bytes,
        described.sha256,
    ):
        told = beside(path, ".json").name
        raise ImageError(
            f"{path} holds {size} bytes of sha256 {whole.hexdigest()[:12]}, "
            f"{told} says {described.size_bytes} of {described.sha256[:12]}",
            _AGAIN,
        )
    return Image(path, size, whole.hexdigest(), tuple(digests), block_map, described)


def _decompressed(raw: BinaryIO) -> BinaryIO:
    magic = raw.read(6)
    raw.seek(0)
    if magic.startswith(b"\x28\xb5\x2f\xfd"):
        return _zstd(raw)
    if magic == b"\xfd7zXZ\x00":
        return cast("BinaryIO", lzma.LZMAFile(raw))
    if magic.startswith(b"\x1f\x8b"):
        return cast("BinaryIO", gzip.GzipFile(fileobj=raw))
    return raw


def _zstd(raw: BinaryIO) -> BinaryIO:
    home = "compression" if sys.version_info >= (3, 14) else "backports"
    try:
        zstd = importlib.import_module(f"{home}.zstd")
    except ImportError:
        raise MissingExtraError(
            "this image is compressed with zstd, which this Python cannot read",
            "pip install 'slfac[image]', or decompress it with `unzstd`",
        ) from None
    return cast("BinaryIO", zstd.ZstdFile(raw))


def _check_head(path: Path, piece: bytes) -> None:
    """Refuse what is no disk image: a file system, an archive, a page of a mirror."""
    if piece[_SECTOR_BYTES - 2 : _SECTOR_BYTES] != _MBR_MARK:
        raise ImageError(
            f"{path} has no partition table, so no board starts from it",
            "name a disk image, such as one of `slfac image build`",
        )


class _Extents:
    """Hashes the parts of a block map while the image goes by."""

    def __init__(self, path: Path, block_map: BlockMap | None) -> None:
        self._path = path
        self._map = block_map
        self._left = list(reversed(block_map.extents)) if block_map else []
        self._hash = hashlib.sha256()

    def update(self, begin: int, piece: bytes) -> None:
        """The next piece of the image."""
        end, view = begin + len(piece), memoryview(piece)
        while self._left and self._left[-1].begin < end:
            extent = self._left[-1]
            self._hash.update(view[max(extent.begin - begin, 0) : min(extent.end, end) - begin])
            if extent.end > end:
                return
            if self._hash.hexdigest() != extent.sha256:
                raise ImageError(
                    f"{self._path} differs from its block map at bytes "
                    f"{extent.begin} to {extent.end}",
                    _AGAIN,
                )
            self._left.pop()
            self._hash = hashlib.sha256()

    def finish(self, size: int) -> None:
        """The image is over."""
        if self._map is not None and size != self._map.size_bytes:
            raise ImageError(
                f"{self._path} holds {size} bytes, its block map is of {self._map.size_bytes}",
                _AGAIN,
            )

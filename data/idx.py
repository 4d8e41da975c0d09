"""The IDX format of MNIST: a typed, big-endian header, then the values.

Layout: two zero bytes, a dtype code, the number of dimensions, one uint32 a dimension,
then the values in C order. Source: http://yann.lecun.com/exdb/mnist/ (the archived page).
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from slfac.data.bounded import MAX_ARRAY_BYTES, Readable, read_bytes
from slfac.wire.errors import DataError

_DTYPES: dict[int, np.dtype[Any]] = {
    0x08: np.dtype("u1"),
    0x09: np.dtype("i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
_CODES = {dtype.newbyteorder("="): code for code, dtype in _DTYPES.items()}
_MAX_DIMS = 8
_GZIP_MAGIC = b"\x1f\x8b"
# Deflate's best ratio: 258 bytes from two bits, plus the streams' own headers.
_MAX_DEFLATE_RATIO = 1032
_REMEDY = "copy or download the file again"


def read_idx(path: Path) -> np.ndarray:
    """Read an IDX file, gzipped or not (told apart by its first bytes).

    The dimensions are checked against the file's size before anything is allocated, and
    no more is decompressed than they announce.

    Args:
        path: The file.

    Returns:
        The array, in native byte order.

    Raises:
        DataError: The file is missing, truncated, too long, of an unknown type, or larger
            than :data:`slfac.data.bounded.MAX_ARRAY_BYTES`.
    """
    try:
        size_bytes = path.stat().st_size
        with path.open("rb") as file:
            zipped = file.read(2) == _GZIP_MAGIC
            file.seek(0)
            if not zipped:
                return _read(file, path, size_bytes)
            with gzip.GzipFile(fileobj=file) as unzipped:
                return _read(unzipped, path, size_bytes * _MAX_DEFLATE_RATIO, exact=False)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is not a whole gzip file: {error}", _REMEDY) from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}", _REMEDY) from error


def write_idx(path: Path, array: np.ndarray) -> None:
    """Write an IDX file, whole or not at all; gzipped where the name ends in ``.gz``.

    Args:
        path: The file; one that exists is replaced.
        array: uint8, int8, int16, int32, float32 or float64, of 1 to 8 dimensions.

    Raises:
        DataError: IDX has no such dtype or shape, or the file cannot be written.
    """
    code = _CODES.get(array.dtype.newbyteorder("="))
    if code is None or not 1 <= array.ndim <= _MAX_DIMS or array.size == 0:
        raise DataError(
            f"{path}: IDX cannot hold an array of {array.dtype} {array.shape}",
            "convert it to uint8, int16, int32 or float32",
        )
    header = struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape)
    data = header + np.ascontiguousarray(array, _DTYPES[code]).tobytes()
    if path.suffix == ".gz":
        data = gzip.compress(data, mtime=0)
    try:
        _replace(path, data)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}") from error


def _read(file: Readable, path: Path, most: int, exact: bool = True) -> np.ndarray:
    """Read header and values from a stream of at most ``most`` bytes."""
    dtype, shape = _read_header(file, path)
    length = dtype.itemsize * math.prod(shape)
    header_bytes = 4 + 4 * len(shape)
    if length > MAX_ARRAY_BYTES:
        raise DataError(
            f"{path}: dimensions {shape} make {length} bytes, more than {MAX_ARRAY_BYTES}",
            "split the data set, or store it as uint8",
        )
    if length + header_bytes > most or (exact and length + header_bytes != most):
        raise DataError(
            f"{path}: dimensions {shape} need {length + header_bytes} bytes, "
            f"the file has {'at most ' if not exact else ''}{most}",
            _REMEDY,
        )
    data = read_bytes(file, length)
    if data.size != length:
        raise DataError(f"{path} ends before its {length} bytes of values", _REMEDY)
    if file.read(1):
        raise DataError(f"{path} goes on after its {length} bytes of values", _REMEDY)
    return data.view(dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _read_header(file: Readable, path: Path) -> tuple[np.dtype, tuple[int, ...]]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _DTYPES:
        raise DataError(
            f"{path} is not an IDX file: it starts with 0x{magic.hex()}",
            "expected 00 00, a dtype code (08 for uint8) and the number of dimensions",
        )
    ndim = magic[3]
    if not 1 <= ndim <= _MAX_DIMS:
        raise DataError(f"{path}: {ndim} dimensions, IDX files here have 1 to {_MAX_DIMS}", _REMEDY)
    raw = file.read(4 * ndim)
    if len(raw) < 4 * ndim:
        raise DataError(f"{path} ends inside its header", _REMEDY)
    shape = struct.unpack(f">{ndim}I", raw)
    if 0 in shape:
        raise DataError(f"{path} is empty: its dimensions are {shape}", "give it samples")
    return _DTYPES[magic[2]], shape


def _replace(path: Path, data: bytes) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    fresh = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        fresh.chmod(0o644)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)

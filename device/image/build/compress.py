"""Compresses images with zstd."""

from __future__ import annotations

import importlib
import shutil
import sys
from pathlib import Path
from typing import Any

from slfac.wire.errors import MissingExtraError

_LEVEL = 9


def require_zstd() -> Any:
    """What writes zstd; asked for before minutes go into what is to be compressed.

    Raises:
        MissingExtraError: Nothing here does.
    """
    home = "compression" if sys.version_info >= (3, 14) else "backports"
    try:
        return importlib.import_module(f"{home}.zstd")
    except ImportError:
        raise MissingExtraError(
            "images are compressed with zstd, which this Python cannot write",
            "pip install 'slfac[image]'",
        ) from None


def compress(source: Path, target: Path) -> None:
    """Compress an image; the same image gives the same bytes.

    Args:
        source: The image.
        target: The file to make, whole or not at all.

    Raises:
        MissingExtraError: Nothing here writes zstd.
    """
    zstd = require_zstd()
    parameter = zstd.CompressionParameter
    options = {
        parameter.compression_level: _LEVEL,
        parameter.checksum_flag: 1,
        # One worker or many write the same bytes; none writes others.
        parameter.nb_workers: 2,
    }
    fresh = target.with_name(f".{target.name}.new")
    try:
        with source.open("rb") as reader, zstd.ZstdFile(fresh, "wb", options=options) as writer:
            shutil.copyfileobj(reader, writer, 1 << 20)
        fresh.replace(target)
    finally:
        fresh.unlink(missing_ok=True)

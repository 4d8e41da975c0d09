"""A folder of IDX files, named as MNIST and its look-alikes name them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from slfac.data.idx import read_idx, write_idx
from slfac.wire.errors import DataError

_PREFIXES = {"train": "train", "test": "t10k"}
_KINDS = {"images": "idx3-ubyte", "labels": "idx1-ubyte"}


def is_idx_folder(folder: Path) -> bool:
    """Whether a folder holds at least one file of the convention, of either split.

    Args:
        folder: An existing folder.
    """
    return any(_find(folder, split, kind) for split in _PREFIXES for kind in _KINDS)


def read_idx_split(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Read ``train-images-idx3-ubyte`` and its labels (``t10k-...`` for the test split).

    Each may be gzipped (``.gz``) and spelt with a dot (``train-images.idx3-ubyte``).

    Args:
        folder: The folder.
        split: ``train`` or ``test``.

    Returns:
        Images as stored, ``(N, ...)``, and labels ``(N,)``.

    Raises:
        DataError: A file is missing or not IDX, or the labels are not one number a sample.
    """
    paths = []
    for kind in _KINDS:
        path = _find(folder, split, kind)
        if path is None:
            raise DataError(
                f"{folder} has no {_name(split, kind)}[.gz]",
                f"put the IDX file of the {split} {kind} there",
            )
        paths.append(path)
    images, labels = read_idx(paths[0]), read_idx(paths[1])
    if images.ndim < 2:
        raise DataError(f"{paths[0]}: images have shape {images.shape}, expected (N, ...)")
    return images, labels


def write_idx_split(folder: Path, split: str, images: np.ndarray, labels: np.ndarray) -> None:
    """Write one split in the convention, uncompressed.

    Args:
        folder: Made if it is not there.
        split: ``train`` or ``test``.
        images: ``(N, H, W)`` uint8, or any array that IDX can hold.
        labels: ``(N,)`` integers in [0, 255].

    Raises:
        DataError: A label does not fit into a byte, or a file cannot be written.
    """
    if labels.min() < 0 or labels.max() > 255:
        raise DataError(f"{folder}: labels {labels.min()}..{labels.max()} do not fit into a byte")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"cannot make {folder}: {error.strerror or error}",
            "choose a folder that can be written",
        ) from error
    write_idx(folder / _name(split, "images"), images)
    write_idx(folder / _name(split, "labels"), labels.astype(np.uint8))


def _name(split: str, kind: str, separator: str = "-") -> str:
    return f"{_PREFIXES[split]}-{kind}{separator}{_KINDS[kind]}"


def _find(folder: Path, split: str, kind: str) -> Path | None:
    for separator in ("-", "."):
        for suffix in ("", ".gz"):
            path = folder / (_name(split, kind, separator) + suffix)
            if path.is_file():
                return path
    return None

"""The images of an experiment: a part to train on, and others to score on."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

from slfac.data import read_idx_split, write_idx_split
from slfac.data.shuffle import permutation
from slfac.wire.errors import DataError

# Every experiment on a data set trains on the same images: only runs' seeds differ.
_KEY = (10_000, 2026)


def prepare_split(
    data: Path,
    out: Path,
    *,
    split: Literal["validation", "test"],
    train_samples: int,
    held_out: int,
) -> tuple[Path, str]:
    """Write a data set of chosen images, which are drawn from one fixed order.

    The first ``train_samples`` images of that order are trained on. ``validation`` scores on
    the ``held_out`` after them, ``test`` on the whole test set, of which ``validation`` sees
    nothing.

    Args:
        data: IDX folder.
        out: Where to write it, to a folder that is named by its images.
        split: What to score on.
        train_samples: Images to train on.
        held_out: Images to score on with ``validation``.

    Returns:
        The folder, and a hash of all that was chosen.

    Raises:
        DataError: The folder is no data set, or has too few images.
    """
    images, labels = read_idx_split(data, "train")
    if len(images) != len(labels):
        raise DataError(f"{data} has {len(images)} training images, but {len(labels)} labels")
    wanted = train_samples + (held_out if split == "validation" else 0)
    if wanted > len(images):
        raise DataError(
            f"{data} has {len(images)} training images, {wanted} are wanted",
            "take fewer: --train-samples and --held-out",
        )
    order = permutation(len(images), _KEY)
    chosen = order[:train_samples]
    scored = order[train_samples : train_samples + held_out]
    parts = {
        "train": (images[chosen], labels[chosen]),
        "test": (
            (images[scored], labels[scored])
            if split == "validation"
            else read_idx_split(data, "test")
        ),
    }
    digest = hashlib.sha256()
    for pair in parts.values():
        for array in pair:
            digest.update(repr((array.dtype.str, array.shape)).encode())
            digest.update(array.tobytes())
    folder = out / f"{split}-{digest.hexdigest()[:16]}"
    for name, pair in parts.items():
        write_idx_split(folder, name, *pair)
    return folder, digest.hexdigest()

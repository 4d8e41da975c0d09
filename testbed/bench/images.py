"""Images to measure with: noise to time steps, and classes that can be learned."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from slfac.data import write_idx

_CONTRAST, _FLOOR, _NOISE = 0.6, 40, 40


def noise_images(
    folder: Path, *, size: tuple[int, int], classes: int, train: int, test: int, seed: int
) -> Path:
    """Write an IDX data set of noise, for times that do not depend on what is learned.

    Args:
        folder: Where; it must not exist.
        size: Height and width.
        classes: How many there are.
        train: Images of the train split.
        test: Images of the test split.
        seed: Of the noise.

    Returns:
        The folder.
    """
    rng = np.random.default_rng(seed)
    folder.mkdir()
    for split, count in (("train", train), ("t10k", test)):
        images = rng.integers(0, 256, (count, *size), dtype=np.uint8)
        _write(folder, split, images, rng.integers(0, classes, count))
    return folder


def pattern_images(
    folder: Path, *, size: tuple[int, int], classes: int, train: int, test: int, seed: int
) -> Path:
    """Write an IDX data set whose classes can be learned: a random pattern each, with noise.

    Args:
        folder: Where; it must not exist.
        size: Height and width.
        classes: How many there are.
        train: Images of the train split.
        test: Images of the test split.
        seed: Of patterns and noise.

    Returns:
        The folder.
    """
    rng = np.random.default_rng(seed)
    patterns = rng.integers(0, 256, (classes, *size))
    folder.mkdir()
    for split, count in (("train", train), ("t10k", test)):
        labels = rng.integers(0, classes, count)
        images = patterns[labels] * _CONTRAST + _FLOOR + rng.normal(0, _NOISE, (count, *size))
        _write(folder, split, np.clip(images, 0, 255).astype(np.uint8), labels)
    return folder


def _write(folder: Path, split: str, images: np.ndarray, labels: np.ndarray) -> None:
    write_idx(folder / f"{split}-images-idx3-ubyte", images)
    write_idx(folder / f"{split}-labels-idx1-ubyte", labels.astype(np.uint8))

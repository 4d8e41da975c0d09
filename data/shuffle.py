"""Permutations that every machine and every NumPy release draws alike."""

from __future__ import annotations

import numpy as np


def permutation(n: int, entropy: tuple[int, ...]) -> np.ndarray:
    """A random order of ``n`` things.

    Sorts raw Philox words: NumPy keeps those stable between releases, unlike the methods
    of ``Generator``, and devices may run different releases.

    Args:
        n: How many.
        entropy: Non-negative numbers that key the draw.

    Returns:
        ``(n,)`` int64, each of 0..n-1 once.
    """
    words = np.random.Philox(np.random.SeedSequence(entropy)).random_raw(n)
    return np.argsort(words, kind="stable").astype(np.int64, copy=False)

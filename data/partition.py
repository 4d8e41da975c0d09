"""Which samples of a shared data set belong to which device.

Every device computes the same partition by itself, from the labels and the seed, and
takes its own part.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from slfac.data.shuffle import permutation
from slfac.wire.errors import DataError, SettingsError

Scheme = Literal["own", "iid", "dirichlet"]
_MAX_DRAWS = 1000
_MAX_BETA = 1e6
# Keeps these draws apart from those of batches, which have (seed, device, epoch) alone.
_TAG = 0x50415254


def partition(
    labels: np.ndarray,
    *,
    scheme: Scheme,
    index: int,
    count: int,
    beta: float,
    seed: int,
    min_samples: int,
) -> np.ndarray:
    """Indices of one device's samples; over all devices they are disjoint and cover all.

    ``own`` gives everything: the device's data set is its own. ``iid`` deals a shuffled
    set out in parts that differ by at most one sample. ``dirichlet`` splits each class
    in proportions drawn from Dirichlet(beta) (Hsu et al. 2019, arXiv:1909.06335; small
    beta, strong skew), drawn again until every device has ``min_samples``.

    Args:
        labels: ``(N,)`` class numbers.
        scheme: How to split.
        index: Which device, from 0.
        count: How many devices.
        beta: Concentration of ``dirichlet``; ignored by the others.
        seed: Same seed, same partition.
        min_samples: Fewest samples a device may get.

    Returns:
        ``(n,)`` int64, in an order that depends on the arguments alone.

    Raises:
        SettingsError: An argument is out of range.
        DataError: There are too few samples, or no draw gave each device enough.
    """
    _check(scheme, index, count, beta, seed)
    if scheme == "own":
        return np.arange(len(labels))
    if len(labels) < count * max(min_samples, 1):
        raise DataError(
            f"{len(labels)} samples are too few for {count} devices of at least {min_samples}",
            "use fewer devices or more data",
        )
    order = permutation(len(labels), (seed, 0, 0, _TAG))
    if scheme == "iid":
        start, stop = len(order) * index // count, len(order) * (index + 1) // count
        return order[start:stop]
    sizes = np.unique(labels, return_counts=True)[1]
    cuts = _draw_cuts(sizes, count=count, beta=beta, seed=seed, min_samples=min_samples)
    by_class = order[np.argsort(labels[order], kind="stable")]
    spans = (np.cumsum(sizes) - sizes)[:, None] + cuts[:, index : index + 2]
    return np.concatenate([by_class[start:stop] for start, stop in spans])


def _draw_cuts(
    sizes: np.ndarray, *, count: int, beta: float, seed: int, min_samples: int
) -> np.ndarray:
    """Where each class is cut between devices, ``(classes, count + 1)``, from 0 to its size."""
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, 1, 0, _TAG))))
    cuts = np.zeros((len(sizes), count + 1), np.int64)
    for _ in range(_MAX_DRAWS):
        shares = rng.dirichlet(np.full(count, beta), size=len(sizes))
        cuts[:, 1:] = np.cumsum(shares, axis=1) * sizes[:, None]
        cuts[:, -1] = sizes
        if np.diff(cuts, axis=1).sum(axis=0).min() >= max(min_samples, 1):
            return cuts
    raise DataError(
        f"no Dirichlet({beta}) split in {_MAX_DRAWS} draws gave each of {count} devices "
        f"{max(min_samples, 1)} samples",
        "raise beta, lower min_samples, or use fewer devices",
    )


def _check(scheme: str, index: int, count: int, beta: float, seed: int) -> None:
    if scheme not in get_args(Scheme):
        raise SettingsError(
            f"partition scheme is {scheme!r}", f"use one of {', '.join(get_args(Scheme))}"
        )
    if count < 1 or not 0 <= index < count:
        raise SettingsError(f"device {index} of {count} devices", "devices count from 0")
    if seed < 0:
        raise SettingsError(f"seed is {seed}", "use a number from 0")
    if scheme == "dirichlet" and not 0 < beta <= _MAX_BETA:
        raise SettingsError(
            f"beta is {beta}", f"use a number in (0, {_MAX_BETA:g}], 0.5 for example"
        )

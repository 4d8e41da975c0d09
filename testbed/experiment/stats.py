"""Means, spreads, and what a few seeds can tell about a difference."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from msgspec import Struct
from scipy.special import stdtrit


class Spread(Struct, frozen=True):
    """A mean over seeds.

    Attributes:
        mean: The mean.
        std: The sample standard deviation; None for a single value.
    """

    mean: float
    std: float | None


class Difference(Struct, frozen=True):
    """A mean of paired differences.

    Attributes:
        mean: The mean.
        low: Lower end of its 95 % interval; None for a single pair.
        high: Upper end.
    """

    mean: float
    low: float | None
    high: float | None


def spread(values: Sequence[float]) -> Spread:
    """Mean and sample standard deviation.

    Args:
        values: At least one.
    """
    mean = statistics.fmean(values)
    return Spread(mean, statistics.stdev(values) if len(values) > 1 else None)


def paired_difference(values: Sequence[float], baseline: Sequence[float]) -> Difference:
    """Mean of the differences, with the 95 % interval of Student's t.

    It takes the differences to be normal and independent. Two seeds give a very wide
    interval, and one gives none.

    Args:
        values: One value a seed, at least one.
        baseline: The value that each is compared with.
    """
    differences = [a - b for a, b in zip(values, baseline, strict=True)]
    mean = statistics.fmean(differences)
    count = len(differences)
    if count < 2:
        return Difference(mean, None, None)
    half = float(stdtrit(count - 1, 0.975)) * statistics.stdev(differences) / math.sqrt(count)
    return Difference(mean, mean - half, mean + half)

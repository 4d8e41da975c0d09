"""Means and their 95 % intervals over repetitions, after Student."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

# 97.5 % quantiles of Student's distribution with 1, 2 and 3 degrees of freedom; with more of
# them a series is as good.
_FEW = (12.706205, 4.302653, 3.182446)
_NORMAL = 1.959963985


@dataclass(frozen=True)
class Figure:
    """A mean over repetitions.

    Attributes:
        value: The mean.
        low: Lower end of its 95 % interval; None of a single repetition.
        high: Its upper end.
        runs: How many repetitions; 0 where the interval is not over repetitions.
    """

    value: float
    low: float | None
    high: float | None
    runs: int


def student(values: Sequence[float]) -> Figure | None:
    """Mean and interval, which ends at zero unless the mean itself is below.

    Args:
        values: One a repetition.

    Returns:
        The figure; None without repetitions.
    """
    count = len(values)
    if not count:
        return None
    mean = math.fsum(values) / count
    if count == 1:
        return Figure(mean, None, None, 1)
    variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
    half = quantile(count - 1) * math.sqrt(variance / count)
    low = mean - half if mean < 0 else max(mean - half, 0.0)
    return Figure(mean, low, mean + half, count)


def quantile(freedom: int) -> float:
    """What half of an interval is, in standard errors.

    Cornish and Fisher's series, as in Abramowitz and Stegun 26.7.5, which errs by less than
    0.1 % from four degrees of freedom on.

    Args:
        freedom: Degrees of freedom: repetitions but one.
    """
    if freedom <= len(_FEW):
        return _FEW[freedom - 1]
    z = _NORMAL
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    series = math.fsum(term / freedom ** (power + 1) for power, term in enumerate(terms))
    return z + series

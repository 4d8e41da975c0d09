"""Chooses among predictions: the Pareto front, and the best where intervals tell it.

Two candidates are told apart by the interval of their difference. What is one number for all of
them, such as the rate of the link, is off by as much for both, and cancels as far as they use it
alike. Any other error, such as that of a speed which layers of another shape may not reach, is
taken at its worst for each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from slfac.hw_profiles.estimate import Estimate, Guess
from slfac.hw_profiles.link import LINK, RADIO
from slfac.hw_profiles.power import DYNAMIC, IDLE
from slfac.hw_profiles.predict import SERVER

#: Causes of errors that are one number for all candidates of a plan.
SHARED: Final = frozenset({LINK, RADIO, IDLE, DYNAMIC, SERVER})

Goal = Literal["time", "energy", "bytes"]


@dataclass(frozen=True)
class Verdict:
    """Which candidate is best, or that it cannot be told.

    Attributes:
        goal: By what.
        best: Index of the one with the smallest value; None if no candidate has one.
        remaining: Indices of the best and of all that it cannot be told to be better than, smallest
            value first. One alone is chosen.
    """

    goal: Goal
    best: int | None
    remaining: tuple[int, ...]

    @property
    def separated(self) -> bool:
        """Whether the best is better than all others with 95 %."""
        return len(self.remaining) == 1


def choose(goal: Goal, values: Sequence[Guess]) -> Verdict:
    """Find the smallest of some figures.

    Args:
        goal: What they are.
        values: One a candidate; those that are unknown are neither chosen nor ruled out.

    Returns:
        The verdict.
    """
    known = [(value, i) for i, value in enumerate(values) if isinstance(value, Estimate)]
    if not known:
        return Verdict(goal, None, ())
    best, index = min(known, key=lambda pair: (pair[0].value, pair[1]))
    left = sorted((value.value, i) for value, i in known if i == index or not less(best, value))
    return Verdict(goal, index, tuple(i for _, i in left))


def less(one: Estimate, other: Estimate) -> bool:
    """Whether a figure is less than another with 95 %.

    Args:
        one: The figure.
        other: The other, of another candidate of the same plan.
    """
    adverse = []
    for cause in {*one.above, *one.below, *other.above, *other.below}:
        above, below = one.above.get(cause, 0.0), other.below.get(cause, 0.0)
        if cause in SHARED:
            both_more = above - other.above.get(cause, 0.0)
            both_less = below - one.below.get(cause, 0.0)
            adverse.append(max(both_more, both_less, 0.0))
        else:
            adverse.append(above + below)
    return other.value - one.value > math.hypot(*adverse)


def pareto(rows: Sequence[Sequence[float]]) -> list[bool]:
    """Which rows are not beaten: no other is as good everywhere, and better somewhere.

    Args:
        rows: Figures of which less is better, as many in each row.

    Returns:
        One truth value a row.
    """
    return [not any(_beats(other, row) for other in rows) for row in rows]


def _beats(one: Sequence[float], other: Sequence[float]) -> bool:
    pairs = list(zip(one, other, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)

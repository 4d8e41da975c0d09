"""Chooses among predictions: the Pareto front, and the best where intervals tell it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from slfac.hw_profiles.estimate import Estimate, Guess

Goal = Literal["time", "energy", "bytes"]


@dataclass(frozen=True)
class Verdict:
    """Which candidate is best, or that it cannot be told.

    Attributes:
        goal: By what.
        best: Index of the one with the smallest value; None if no candidate has one.
        remaining: Indices of all whose interval reaches into that of the best, it among them,
            smallest value first. One alone is chosen.
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
        values: One a candidate; those that are unknown are never chosen, and never ruled out
            others.

    Returns:
        The verdict. A candidate is ruled out only if its whole interval lies above that of the
        best: errors that all candidates share would allow more, but which these are is not known.
    """
    known = [(value, i) for i, value in enumerate(values) if isinstance(value, Estimate)]
    if not known:
        return Verdict(goal, None, ())
    best, index = min(known, key=lambda pair: (pair[0].value, pair[1]))
    left = sorted((value.value, i) for value, i in known if value.low <= best.high or i == index)
    return Verdict(goal, index, tuple(i for _, i in left))


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

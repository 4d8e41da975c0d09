"""Figures that something was predicted as: with an interval, and with what that rests on.

An error has a cause, such as a speed that is off for all phases alike. Errors of one cause add up;
of errors of different causes, which know nothing of one another, the squares add up.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from slfac.hw_profiles.values import Value

#: ``given`` by the user or counted, ``measured`` as it is, ``calibrated``: fitted on this board,
#: ``spec``: carried over from another board by what is published of both.
Tier = Literal["given", "measured", "calibrated", "spec"]
TIERS: Final[tuple[Tier, ...]] = ("given", "measured", "calibrated", "spec")
#: By how much a figure may be off at least, beyond a factor of one: ``spec`` by two.
FLOORS: Final[Mapping[Tier, float]] = {"calibrated": 0.15, "spec": 1.0}
Offsets = Mapping[str, float]


@dataclass(frozen=True)
class Unknown:
    """What cannot be said.

    Attributes:
        why: The reason, and what would help.
    """

    why: str


@dataclass(frozen=True)
class Term:
    """One of the figures that a prediction was made of.

    Attributes:
        what: What it is.
        value: The figure.
        unit: Its unit.
        tier: What it rests on.
        source: Where it is from.
    """

    what: str
    value: float
    unit: str
    tier: Tier
    source: str


@dataclass(frozen=True)
class Estimate:
    """A predicted figure. None is below zero.

    Attributes:
        value: The figure.
        tier: The weakest of the tiers that it rests on.
        source: How it came about.
        below: Cause of an error -> how much less it may be for that.
        above: Cause of an error -> how much more.
        terms: What it was made of.
        missing: What is not in it though it belongs there, as it is unknown: the figure, and both
            ends of its interval, are then at least what they are.
    """

    value: float
    tier: Tier
    source: str
    below: Offsets = field(default_factory=dict)
    above: Offsets = field(default_factory=dict)
    terms: tuple[Term, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval."""
        return max(self.value - _together(self.below), 0.0)

    @property
    def high(self) -> float:
        """Its upper end."""
        return self.value + _together(self.above)

    def of(self, *terms: Term) -> Estimate:
        """The same, with what it was made of.

        Args:
            terms: All of it.
        """
        return replace(self, terms=terms)

    def times(self, factor: float) -> Estimate:
        """So many times that.

        Args:
            factor: A number that is known, not below zero.
        """
        return replace(
            self,
            value=self.value * factor,
            below={cause: factor * by for cause, by in self.below.items()},
            above={cause: factor * by for cause, by in self.above.items()},
        )


Guess = Estimate | Unknown


def exact(value: float, source: str) -> Estimate:
    """What was given or counted.

    Args:
        value: The figure.
        source: Where it is from.
    """
    return Estimate(value, "given", source)


def between(  # noqa: PLR0917 - a figure with all that is known of it
    value: float, low: float, high: float, tier: Tier, source: str, cause: str
) -> Estimate:
    """A figure with an interval.

    Args:
        value: The figure.
        low: Lower end of its 95 % interval.
        high: Upper end.
        tier: What it rests on.
        source: Where it is from.
        cause: Of its error.
    """
    below, above = max(value - low, 0.0), max(high - value, 0.0)
    return Estimate(value, tier, source, {cause: below}, {cause: above})


def within(value: float, spread: float, tier: Tier, source: str, cause: str) -> Estimate:
    """A figure that may be off by a factor, and by no less than its tier is.

    Args:
        value: The figure.
        spread: It may be off by a factor of one and this, either way, with 95 %.
        tier: What it rests on.
        source: Where it is from.
        cause: Of its error.
    """
    factor = 1 + max(spread, FLOORS.get(tier, 0.0))
    return between(value, value / factor, value * factor, tier, source, cause)


def figure_of(value: Value, *, cause: str, at_home: bool, source: str = "") -> Estimate:
    """A figure of a profile.

    Args:
        value: The figure.
        cause: Of its error.
        at_home: Whether it is of the very board that is predicted: its profile is measured.
        source: What to say before its own source.

    Returns:
        With its own interval where it has one; else as wide as its tier, which is ``calibrated`` of
        a board's own profile, and ``spec`` of what others have published.
    """
    said = " ".join(filter(None, (source, value.source)))
    if value.low is None or value.high is None:
        return within(value.value, 0.0, "calibrated" if at_home else "spec", said, cause)
    tier: Tier = "measured" if value.kind == "measured" else "calibrated"
    ends = (max(value.low, 0.0), value.high)
    return between(value.value, *ends, tier if at_home else "spec", said, cause)


def total(parts: Iterable[Guess], source: str = "sum") -> Guess:
    """The sum of figures; unknown if one of them is.

    Args:
        parts: The figures.
        source: How it came about.
    """
    known, reasons = [], []
    for part in parts:
        if isinstance(part, Unknown):
            reasons.append(part.why)
        else:
            known.append(part)
    return Unknown("; ".join(dict.fromkeys(reasons))) if reasons else added(known, source)


def added(parts: Sequence[Estimate], source: str = "sum") -> Estimate:
    """The sum of figures that are known.

    Args:
        parts: The figures.
        source: How it came about.
    """
    return Estimate(
        value=math.fsum(part.value for part in parts),
        tier=weakest(part.tier for part in parts if part.high),
        source=source,
        below=_added(part.below for part in parts),
        above=_added(part.above for part in parts),
        terms=tuple(term for part in parts for term in part.terms),
        missing=tuple(dict.fromkeys(name for part in parts for name in part.missing)),
    )


def product(first: Estimate, second: Estimate, source: str) -> Estimate:
    """One figure times another.

    Args:
        first: The one.
        second: The other.
        source: How it came about.
    """
    causes = {*first.above, *first.below, *second.above, *second.below}
    a, b = first.value, second.value
    above = {
        t: (a + first.above.get(t, 0.0)) * (b + second.above.get(t, 0.0)) - a * b for t in causes
    }
    below = {
        t: a * b - max(a - first.below.get(t, 0.0), 0.0) * max(b - second.below.get(t, 0.0), 0.0)
        for t in causes
    }
    return Estimate(
        value=a * b,
        tier=weakest((first.tier, second.tier)),
        source=source,
        below=below,
        above=above,
        terms=(*first.terms, *second.terms),
        missing=tuple(dict.fromkeys((*first.missing, *second.missing))),
    )


def inverse(rate: Estimate, amount: float, source: str, cause: str) -> Estimate:
    """How long an amount takes at a rate.

    Args:
        rate: So much in a unit of time; its value is above zero.
        amount: How much.
        source: How it came about.
        cause: Of the rate's error.
    """
    slowest = max(rate.low, 1e-9 * rate.value)
    ends = (amount / rate.high, amount / slowest)
    return between(amount / rate.value, *ends, rate.tier, source, cause)


def weakest(tiers: Iterable[Tier]) -> Tier:
    """The tier that says least of those that a figure rests on.

    Args:
        tiers: All of them; none are as good as what was given.
    """
    return max(tiers, key=TIERS.index, default="given")


def _together(offsets: Offsets) -> float:
    return math.hypot(*offsets.values())


def _added(parts: Iterable[Offsets]) -> Offsets:
    sums: dict[str, float] = {}
    for offsets in parts:
        for cause, by in offsets.items():
            sums[cause] = sums.get(cause, 0.0) + by
    return sums

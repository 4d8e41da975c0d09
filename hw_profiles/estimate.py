"""Figures that something was predicted as: with an interval, and with what that rests on.

Errors of one tier have one cause, such as a speed that is off for all fronts alike, so that they
add up; errors of different tiers have different ones, and their squares add up.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

#: ``given`` by the user or counted, ``measured`` as it is, ``calibrated``: fitted on this board,
#: ``spec``: carried over from another board by what is published of both.
Tier = Literal["given", "measured", "calibrated", "spec"]
TIERS: Final[tuple[Tier, ...]] = ("given", "measured", "calibrated", "spec")
#: A figure of ``calibrated`` may be off by at least that; one of ``spec`` by a factor of two.
CALIBRATED_FLOOR: Final = 0.15
SPEC_FACTOR: Final = 2.0
Offsets = Mapping[Tier, float]


@dataclass(frozen=True)
class Unknown:
    """What cannot be said.

    Attributes:
        why: The reason, and what would help.
    """

    why: str


@dataclass(frozen=True)
class Estimate:
    """A predicted figure. None is below zero.

    Attributes:
        value: The figure.
        below: Tier -> how much less it may be for errors of that tier.
        above: Tier -> how much more.
        source: How it came about.
        tier: The weakest of the tiers that it rests on.
        missing: What is not in it though it belongs there, as it is unknown: the figure, and both
            ends of its interval, are then at least what they are.
    """

    value: float
    tier: Tier
    source: str
    below: Offsets = field(default_factory=dict)
    above: Offsets = field(default_factory=dict)
    missing: tuple[str, ...] = ()

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval."""
        return max(self.value - _together(self.below), 0.0)

    @property
    def high(self) -> float:
        """Its upper end."""
        return self.value + _together(self.above)

    def times(self, factor: float) -> Estimate:
        """So many times that.

        Args:
            factor: A number that is known, not below zero.
        """
        return replace(
            self,
            value=self.value * factor,
            below={tier: factor * by for tier, by in self.below.items()},
            above={tier: factor * by for tier, by in self.above.items()},
        )

    def said(self, source: str) -> Estimate:
        """The same with other words on how it came about.

        Args:
            source: The words.
        """
        return replace(self, source=source)


Guess = Estimate | Unknown


def exact(value: float, source: str) -> Estimate:
    """What was given or counted.

    Args:
        value: The figure.
        source: Where it is from.
    """
    return Estimate(value, "given", source)


def between(value: float, low: float, high: float, tier: Tier, source: str) -> Estimate:
    """A figure with an interval.

    Args:
        value: The figure.
        low: Lower end of its 95 % interval.
        high: Upper end.
        tier: What it rests on.
        source: Where it is from.
    """
    return Estimate(
        value, tier, source, {tier: max(value - low, 0.0)}, {tier: max(high - value, 0.0)}
    )


def calibrated(value: float, spread: float, source: str) -> Estimate:
    """What a fit on this board says.

    Args:
        value: The figure.
        spread: It may be off by a factor of one and this, either way, with 95 %.
        source: Where it is from.
    """
    factor = 1 + max(spread, CALIBRATED_FLOOR)
    return between(value, value / factor, value * factor, "calibrated", source)


def carried_over(value: float, source: str) -> Estimate:
    """What published figures say: from half to twice.

    Args:
        value: The figure.
        source: Where it is from.
    """
    return between(value, value / SPEC_FACTOR, value * SPEC_FACTOR, "spec", source)


def total(parts: Iterable[Guess], source: str = "sum") -> Guess:
    """The sum of figures; unknown if one of them is.

    Args:
        parts: The figures.
        source: How it came about.
    """
    listed = list(parts)
    reasons = [part.why for part in listed if isinstance(part, Unknown)]
    if reasons:
        return Unknown("; ".join(dict.fromkeys(reasons)))
    known = [part for part in listed if isinstance(part, Estimate)]
    return Estimate(
        value=math.fsum(part.value for part in known),
        tier=weakest(part.tier for part in known if part.value or part.high),
        source=source,
        below=_added(part.below for part in known),
        above=_added(part.above for part in known),
        missing=tuple(dict.fromkeys(name for part in known for name in part.missing)),
    )


def product(first: Estimate, second: Estimate, source: str) -> Estimate:
    """One figure times another.

    Args:
        first: The one.
        second: The other.
        source: How it came about.
    """
    tiers = {*first.above, *first.below, *second.above, *second.below}
    a, b = first.value, second.value
    above = {
        t: (a + first.above.get(t, 0.0)) * (b + second.above.get(t, 0.0)) - a * b for t in tiers
    }
    below = {
        t: a * b - max(a - first.below.get(t, 0.0), 0.0) * max(b - second.below.get(t, 0.0), 0.0)
        for t in tiers
    }
    return Estimate(
        value=a * b,
        tier=weakest((first.tier, second.tier)),
        source=source,
        below=below,
        above=above,
        missing=tuple(dict.fromkeys((*first.missing, *second.missing))),
    )


def inverse(rate: Estimate, amount: float, source: str) -> Estimate:
    """How long an amount takes at a rate.

    Args:
        rate: So much in a unit of time; its value is above zero.
        amount: How much.
        source: How it came about.
    """
    value = amount / rate.value
    slowest = max(rate.low, 1e-9 * rate.value)
    return replace(
        between(value, amount / rate.high, amount / slowest, rate.tier, source),
        missing=rate.missing,
    )


def weakest(tiers: Iterable[Tier]) -> Tier:
    """The tier that says least of those that a figure rests on.

    Args:
        tiers: All of them; none are as good as what was given.
    """
    return max(tiers, key=TIERS.index, default="given")


def _together(offsets: Offsets) -> float:
    return math.hypot(*offsets.values())


def _added(parts: Iterable[Offsets]) -> Offsets:
    sums: dict[Tier, float] = {}
    for offsets in parts:
        for tier, by in offsets.items():
            sums[tier] = sums.get(tier, 0.0) + by
    return sums

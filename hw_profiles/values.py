"""A figure with what it rests on."""

from __future__ import annotations

from typing import Literal

import msgspec

Kind = Literal["measured", "calibrated", "spec"]
#: As of a sensor; ``unknown`` where the source does not say what was measured.
Scope = Literal["soc", "module", "board", "wall", "unknown"]


class Value(
    msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, omit_defaults=True
):
    """A figure of a profile; its unit is the suffix of the field that holds it.

    Attributes:
        value: The figure.
        kind: ``measured`` on a board of this model, ``calibrated`` by a fit to measurements of
            this model, or ``spec``: what a maker or a driver says.
        source: Where it comes from, so that a reader can find it.
        low: Lower end of its 95 % interval; None where the spread is not known.
        high: Its upper end; there are both or neither.
        runs: How many repetitions it is the mean of; None where not known.
        date: When it was measured or published: ``2026``, ``2026-04`` or ``2026-04-30``.
        note: What a reader of the figure must know.
    """

    value: float
    kind: Kind
    source: str
    low: float | None = None
    high: float | None = None
    runs: int | None = None
    date: str = ""
    note: str = ""


class Power(Value, kw_only=True, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Watts, which mean nothing without what they were measured of.

    Attributes:
        scope: What draws them.
    """

    scope: Scope

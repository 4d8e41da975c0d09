"""When the energy of a stretch of time is known."""

from __future__ import annotations

from slfac.wire.messages import Scope

SCOPES: tuple[Scope, ...] = ("soc", "module", "board", "wall")
# What readings leave out is not in a figure, so that one with much left out would be too small.
LEAST_COVERED = 0.95


def known_joules(joules: float | None, covered_s: float, missing_s: float) -> float | None:
    """Energy of a stretch of time, if enough of it was seen.

    Args:
        joules: Of the time that readings cover; None where they cover nothing.
        covered_s: How long that is.
        missing_s: The rest.

    Returns:
        The energy; None where readings cover less than 95 % of the stretch.
    """
    if covered_s <= 0 or covered_s < LEAST_COVERED * (covered_s + missing_s):
        return None
    return joules

"""Parallel split learning: one concatenated step for all devices, fronts averaged.

All devices step together; those whose round is over sit out until it is over for all.
Concatenation goes by device index, never by arrival.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from slfac.server.back import Batch, Outcome, Portion
from slfac.server.modes.base import StepMode, Turn
from slfac.server.modes.kinds import PARALLEL, ModeKind


class Parallel(StepMode):
    """Parallel split learning (PSL)."""

    kind: ClassVar[ModeKind] = PARALLEL

    def ready(self, turn: Turn) -> tuple[int, ...]:
        """Everyone, once everyone's batch is in."""
        return turn.all_or_late()

    def train(
        self, batches: Mapping[int, Batch], portion: Portion | None = None
    ) -> dict[int, Outcome]:
        """One step over all samples, those of other ranks' devices too."""
        outcomes = self.back.step(list(batches.values()), portion)
        pairs = zip(batches, outcomes, strict=True)
        return {index: outcome for index, outcome in pairs if outcome is not None}

"""SplitFedV2: one back half, which steps on one device's batch after another; fronts averaged.

Thapa, Chamikara, Camtepe, Sun, *SplitFed: When Federated Learning Meets Split Learning*, AAAI
2022 (arXiv 2004.12088), algorithm 3: the server takes the devices of a step in random order, and
steps its optimiser for each. Here that order follows from the run's seed, the round and the step,
so that a run can be repeated; the front's gradient is that of the back half as it was when the
device's turn came.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from slfac.server.back import BackHalf, Batch, Outcome, Portion
from slfac.server.modes.base import StepMode, Turn
from slfac.server.modes.kinds import SFL_V2, ModeKind


class SflV2(StepMode):
    """SplitFedV2.

    Args:
        back: The one back half.
        seed: The run's seed.
    """

    kind: ClassVar[ModeKind] = SFL_V2

    def __init__(self, back: BackHalf, seed: int) -> None:
        super().__init__(back)
        self._seed = seed

    def ready(self, turn: Turn) -> tuple[int, ...]:
        """Everyone, once everyone's batch is in, shuffled."""
        order = turn.all_or_late()
        draw = np.random.default_rng((self._seed, turn.round, turn.number))
        return tuple(int(index) for index in draw.permutation(order)) if order else ()

    def train(
        self, batches: Mapping[int, Batch], portion: Portion | None = None
    ) -> dict[int, Outcome]:
        """One step for each device."""
        del portion
        return self._one_by_one(batches)

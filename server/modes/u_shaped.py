"""U-shaped split learning: labels and head never leave the devices.

Vepakomma, Gupta, Swedish, Raskar, *Split learning for health*, 2018 (arXiv 1812.00564), figure 2b.
The server trains the middle: forward over the samples of all devices, then, once their gradients
are in, backward and one step. Fronts and heads are averaged together at a round's end.
"""

from __future__ import annotations

from typing import ClassVar

from slfac.server.back import BackHalf
from slfac.server.middle import Middle
from slfac.server.modes.base import Mode, Turn
from slfac.server.modes.kinds import U_SHAPED, ModeKind


class UShaped(Mode):
    """U-shaped split learning.

    Args:
        back: The middle of the model.

    Attributes:
        middle: Trains it, in two phases.
    """

    kind: ClassVar[ModeKind] = U_SHAPED

    def __init__(self, back: BackHalf) -> None:
        super().__init__(back)
        self.middle = Middle(back)

    def begin(self, round_: int) -> None:
        """A step that was lost with all its devices is no part of the new round."""
        del round_
        self.middle.drop()

    def ready(self, turn: Turn) -> tuple[int, ...]:
        """Everyone, once everyone's smashed data is in."""
        return turn.all_or_late()

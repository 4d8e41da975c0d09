"""Vanilla split learning: devices train one after another, and pass the front on.

Gupta and Raskar, *Distributed learning of deep neural network over multiple agents*, 2018
(arXiv 1810.06060). In each round a device begins with the front of the one before it, makes its
steps of the round with the one back half, and its front, unaveraged, is what the next begins with.
The order is that of the indices. The front goes by way of the server: boards need not reach one
another.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import ClassVar

from slfac.server.back import Batch, Outcome, Portion
from slfac.server.modes.base import StepMode, Turn
from slfac.server.modes.kinds import RELAY, ModeKind
from slfac.wire.bundle import State


class Relay(StepMode):
    """Vanilla split learning."""

    kind: ClassVar[ModeKind] = RELAY

    def called(self, members: Set[int], finished: Set[int]) -> Set[int]:
        """The first that has not had its turn."""
        left = members - finished
        return {min(left)} if left else left

    def ready(self, turn: Turn) -> tuple[int, ...]:
        """The one whose turn it is."""
        return turn.all_or_late()

    def train(
        self, batches: Mapping[int, Batch], portion: Portion | None = None
    ) -> dict[int, Outcome]:
        """One step."""
        return self._one_by_one(batches, portion)

    def hand_on(self, front: State, arrived: State) -> State:
        """What the one before has made of it."""
        del front
        return arrived

    def merge(self, fronts: Mapping[int, tuple[State, int]]) -> State:
        """What the last one has made of it."""
        return fronts[max(fronts)][0]

"""Asynchronous split learning with bounded staleness: each batch is trained on as it comes.

No device waits for another's step, unless it would be more than ``staleness`` steps ahead of the
slowest: the stale synchronous parallel model of Ho et al., *More effective distributed ML via a
stale synchronous parallel parameter server*, NIPS 2013. The one back half steps at each batch;
fronts stay with their devices and are averaged when all have finished the round.

How stale an update is, in the metrics, is how many updates by others the back half took between the
device's last gradient and this one. Weights depend on the order of arrival: such a run cannot be
repeated bit for bit, but each gradient is applied once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import ClassVar

from slfac.server.back import BackHalf, Batch, Outcome, Portion
from slfac.server.modes.base import StepMode, Turn
from slfac.server.modes.kinds import ASYNCHRONOUS, ModeKind


class Asynchronous(StepMode):
    """Asynchronous split learning.

    Args:
        back: The one back half.
        staleness: Steps of a round that a device may be ahead of the slowest.
    """

    kind: ClassVar[ModeKind] = ASYNCHRONOUS

    def __init__(self, back: BackHalf, staleness: int) -> None:
        super().__init__(back)
        self._staleness = staleness
        self._made: Counter[int] = Counter()
        self._updates = 0
        # Updates that the back half had taken when the round began, and when a device got its
        # last gradient.
        self._base = 0
        self._seen: dict[int, int] = {}

    def begin(self, round_: int) -> None:
        """All are level again."""
        del round_
        self._made.clear()
        self._base = self._updates
        self._seen.clear()

    def ready(self, turn: Turn) -> tuple[int, ...]:
        """The first to come of those who are not too far ahead."""
        slowest = min((self._made[index] for index in turn.active), default=0)
        for index in turn.waiting:
            if index in turn.active and self._made[index] - slowest <= self._staleness:
                return (index,)
        return ()

    def train(
        self, batches: Mapping[int, Batch], portion: Portion | None = None
    ) -> dict[int, Outcome]:
        """One step for each device."""
        del portion
        outcomes = {}
        for index, batch in batches.items():
            (outcome,) = self.back.step([batch])
            if outcome is not None:
                behind = self._updates - self._seen.get(index, self._base)
                outcomes[index] = Outcome(outcome.loss, outcome.gradients, staleness=behind)
                self._made[index] += 1
                self._updates += 1
                self._seen[index] = self._updates
        return outcomes

    def forget(self, index: int) -> None:
        """It is no longer the slowest, nor stale."""
        self._made.pop(index, None)
        self._seen.pop(index, None)

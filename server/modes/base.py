"""What a way of split learning decides: who trains when, on which weights, and what is merged."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import ClassVar

import torch

from slfac.server.back import BackHalf, Batch, Outcome, Portion
from slfac.server.fronts import average_fronts
from slfac.server.modes.kinds import ModeKind
from slfac.wire.bundle import State


@dataclass(frozen=True)
class Turn:
    """What there is to train on.

    Attributes:
        round: The present round.
        number: Trainings that were made in it.
        active: Devices that are called to train and have steps left in this round.
        waiting: Devices whose batches are in, in the order in which they came.
        late: Whether the first of them has waited for as long as a step may take.
    """

    round: int
    number: int
    active: Set[int]
    waiting: Sequence[int]
    late: bool

    def all_or_late(self) -> tuple[int, ...]:
        """Everyone, by index, once everyone's batch is in, or the time is over."""
        here = self.active & {*self.waiting}
        return tuple(sorted(here)) if here and (here == self.active or self.late) else ()


class Mode(abc.ABC):
    """A way of split learning.

    Args:
        back: The back half, which is evaluated and saved.

    Attributes:
        kind: What is known of it before it runs.
    """

    kind: ClassVar[ModeKind]

    def __init__(self, back: BackHalf) -> None:
        self.back = back

    def begin(self, round_: int) -> None:
        """Take note that a round begins, or begins again.

        Args:
            round_: Which.
        """
        del round_

    def called(self, members: Set[int], finished: Set[int]) -> Set[int]:
        """Who is to train now; each gets the present front when it is called.

        Args:
            members: Devices in the round.
            finished: Those whose fronts are in.

        Returns:
            Their indices; empty when the round is over.
        """
        return members - finished

    @abc.abstractmethod
    def ready(self, turn: Turn) -> tuple[int, ...]:
        """Whose batches to train on now.

        Args:
            turn: What there is to train on.

        Returns:
            Their indices in the order to train in; empty to wait for more.
        """

    def hand_on(self, front: State, arrived: State) -> State:
        """What the next device is called with, when a device has finished its round.

        Args:
            front: What devices were called with so far.
            arrived: The front of the one that has finished.

        Returns:
            One of the two.
        """
        del arrived
        return front

    def merge(self, fronts: Mapping[int, tuple[State, int]]) -> State:
        """Make one front of those that came in at a round's end, and one back half.

        Unless a mode says otherwise, the front is the mean, weighted by samples, over all ranks.

        Args:
            fronts: Front and number of samples, by device, in the order of indices.

        Returns:
            The front that goes on.
        """
        states, samples = zip(*fronts.values(), strict=True)
        return average_fronts(states, samples, self.back.peers)

    def scale_rate(self, share: float) -> None:
        """Set the learning rate for the steps to come.

        Args:
            share: What to multiply the optimiser's own rate with.
        """
        self.back.scale_rate(share)

    def forget(self, index: int) -> None:
        """Drop what is held for a device that is out of the run.

        Args:
            index: The device.
        """
        del index

    def state(self) -> dict[str, torch.Tensor]:
        """What a checkpoint between two rounds must hold beside the back half."""
        return {}

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take back what :meth:`state` gave.

        Args:
            tensors: As given by the same mode on the same back half.

        Raises:
            KeyError: A tensor's name is not one that the mode gives.
            ValueError: A tensor does not fit.
        """
        if tensors:
            raise KeyError(next(iter(tensors)))


class StepMode(Mode):
    """A way of split learning whose step is one request: smashed data and targets."""

    @abc.abstractmethod
    def train(
        self, batches: Mapping[int, Batch], portion: Portion | None = None
    ) -> dict[int, Outcome]:
        """Train the back half on batches.

        Args:
            batches: By device, in the order to train in.
            portion: Which portion of a training this is; None for the whole of one, which a
                mode without ``in_parts`` always gets. The last one may have no batches.

        Returns:
            What each device gets back; none for a device whose batch the back half left out.

        Raises:
            TrainingError: Training diverged.
        """

    def _one_by_one(
        self, batches: Mapping[int, Batch], portion: Portion | None = None
    ) -> dict[int, Outcome]:
        """A step of the one back half for each device, in the order given."""
        pairs = ((index, self.back.step([batch], portion)[0]) for index, batch in batches.items())
        return {index: outcome for index, outcome in pairs if outcome is not None}

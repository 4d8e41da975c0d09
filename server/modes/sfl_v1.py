"""SplitFedV1: a back half for each device, averaged with the fronts at a round's end.

Thapa, Chamikara, Camtepe, Sun, *SplitFed: When Federated Learning Meets Split Learning*, AAAI
2022 (arXiv 2004.12088), algorithm 1. No device waits for another within a round: the copies do not
touch, and each draws random numbers of its own, so what comes of a round does not depend on who was
first. Optimisers' states stay with the copies.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import ClassVar

import numpy as np
import torch

from slfac.server.back import BackHalf, Batch, Outcome, Portion
from slfac.server.fronts import average_fronts
from slfac.server.modes.base import StepMode, Turn
from slfac.server.modes.kinds import SFL_V1, ModeKind
from slfac.server.optim_state import flatten_optimizer, load_optimizer
from slfac.wire.bundle import State


class SflV1(StepMode):
    """SplitFedV1.

    Args:
        back: The averaged back half.
        seed: The run's seed.
    """

    kind: ClassVar[ModeKind] = SFL_V1

    def __init__(self, back: BackHalf, seed: int) -> None:
        super().__init__(back)
        self._seed = seed
        self._round = 0
        self._share = 1.0
        self._copies: dict[int, BackHalf] = {}
        # Trainings of the present round; whose copy is not among them has the averaged weights.
        self._made: Counter[int] = Counter()

    def begin(self, round_: int) -> None:
        """Each copy begins with the averaged weights."""
        self._round = round_
        self._made.clear()

    def ready(self, turn: Turn) -> tuple[int, ...]:
        """The first to come."""
        return next(((index,) for index in turn.waiting if index in turn.active), ())

    def train(
        self, batches: Mapping[int, Batch], portion: Portion | None = None
    ) -> dict[int, Outcome]:
        """One step of each device's copy."""
        outcomes = {}
        for index, batch in batches.items():
            copy = self._copy(index)
            copy.scale_rate(self._share)
            with self._draws_of(index):
                (outcome,) = copy.step([batch], portion)
            self._made[index] += 1
            if outcome is not None:
                outcomes[index] = outcome
        return outcomes

    def merge(self, fronts: Mapping[int, tuple[State, int]]) -> State:
        """The means, weighted by samples."""
        modules = [self._copy(index).module.state_dict() for index in fronts]
        backs = [{n: t.detach().cpu().numpy() for n, t in module.items()} for module in modules]
        averaged = average_fronts(backs, [samples for _, samples in fronts.values()])
        self.back.module.load_state_dict(
            {name: torch.from_numpy(array) for name, array in averaged.items()}
        )
        return super().merge(fronts)

    def scale_rate(self, share: float) -> None:
        """Of the copies that step."""
        self._share = share

    def forget(self, index: int) -> None:
        """Its copy goes."""
        self._copies.pop(index, None)
        self._made.pop(index, None)

    def state(self) -> dict[str, torch.Tensor]:
        """The optimisers' states of the copies."""
        return {
            f"{index}/{name}": tensor
            for index, copy in sorted(self._copies.items())
            for name, tensor in flatten_optimizer(copy.optimizer)[0].items()
        }

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take back what :meth:`state` gave."""
        own: dict[str, dict[str, torch.Tensor]] = {}
        for path, tensor in tensors.items():
            index, _, name = path.partition("/")
            own.setdefault(index, {})[name] = tensor
        for index, state in own.items():
            optimizer = self._copy(int(index)).optimizer
            load_optimizer(optimizer, state, flatten_optimizer(optimizer)[1])

    def _copy(self, index: int) -> BackHalf:
        if index not in self._copies:
            self._copies[index] = self.back.copy()
        elif not self._made[index]:
            self._copies[index].module.load_state_dict(self.back.module.state_dict())
        return self._copies[index]

    @contextlib.contextmanager
    def _draws_of(self, index: int) -> Iterator[None]:
        """Random numbers that are those of a device's step, whoever was before it."""
        place = (self._seed, self._round, index, self._made[index])
        seed = int(np.random.SeedSequence(place).generate_state(1, np.uint64)[0])
        device = self.back.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            yield

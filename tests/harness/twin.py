"""The all-torch twin of a run: parallel split learning without any of slfac's machinery."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch.nn import functional

Batches = Callable[[], tuple[torch.Tensor, torch.Tensor]]


@dataclass
class Twin:
    """Fronts, one a device, and the back, trained by torch alone."""

    fronts: Sequence[torch.nn.Module]
    back: torch.nn.Module
    make_optimizer: Callable[[Sequence[torch.nn.Parameter]], torch.optim.Optimizer]
    losses: list[list[float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.front_optimizers = [self.make_optimizer(list(f.parameters())) for f in self.fronts]
        self.back_optimizer = self.make_optimizer(list(self.back.parameters()))
        self.losses = [[] for _ in self.fronts]

    def round(self, batches: Sequence[Batches], steps: Sequence[int]) -> None:
        """A round: devices with fewer steps sit out once theirs are done; then average."""
        samples = [0] * len(self.fronts)
        for step in range(max(steps)):
            active = [i for i, count in enumerate(steps) if step < count]
            for index, size in self._step(active, batches):
                samples[index] += size
        self._average(samples)

    def _step(self, active: Sequence[int], batches: Sequence[Batches]) -> list[tuple[int, int]]:
        drawn = {i: batches[i]() for i in active}
        smashed = {i: self.fronts[i](drawn[i][0]) for i in active}
        leaves = {i: z.detach().requires_grad_() for i, z in smashed.items()}
        self.back_optimizer.zero_grad()
        output = self.back(torch.cat([leaves[i] for i in active]))
        target = torch.cat([drawn[i][1] for i in active])
        losses = functional.cross_entropy(output, target, reduction="none")
        losses.mean().backward()
        self.back_optimizer.step()
        start, total = 0, len(target)
        for i in active:
            size = len(drawn[i][1])
            self.losses[i].append(float(losses[start : start + size].detach().mean()))
            start += size
            self.front_optimizers[i].zero_grad()
            smashed[i].backward(leaves[i].grad * (total / size))
            self.front_optimizers[i].step()
        return [(i, len(drawn[i][1])) for i in active]

    def _average(self, samples: Sequence[int]) -> None:
        states = [front.state_dict() for front in self.fronts]
        weights = [count / sum(samples) for count in samples]
        mean = {
            name: sum(w * state[name].double() for w, state in zip(weights, states, strict=True))
            for name in states[0]
        }
        for front in self.fronts:
            front.load_state_dict({name: value.float() for name, value in mean.items()})

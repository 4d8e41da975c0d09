"""A device's head in torch, with the loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from slfac.export.half import Half
from slfac.server.accelerator import memory_errors
from slfac.server.losses import per_sample_loss
from slfac.testbed.simulate.front import Run, Tensors, call_half, drawn_for, gradients_of, here
from slfac.wire.bundle import State
from slfac.wire.manifest import Head as HeadSpec
from slfac.wire.manifest import Manifest


@dataclass(frozen=True)
class TorchHeadStep:
    """What a step of the head gives; see :class:`slfac.device.head.HeadStep`."""

    loss: float
    crossing: list[torch.Tensor]
    gradients: Tensors
    buffers: Tensors


class TorchHead:
    """As :class:`slfac.device.head.Head`, on torch tensors.

    Args:
        module: The head, whose own weights are not used.
        manifest: The bundle's manifest.
        spec: What it says of the head.
        device: Where to compute.
        run: Calls a function where torch's threads are.

    Attributes:
        spec: As given.
    """

    def __init__(
        self,
        module: Half,
        manifest: Manifest,
        spec: HeadSpec,
        device: torch.device,
        run: Run = here,
    ) -> None:
        self.spec = spec
        self._module = module
        self._loss = manifest.loss
        self._device = device
        self._run = run
        self._names = list(module.state_dict())
        self._updates = {
            b.tensor.name: b.update for b in manifest.buffers if b.tensor.name in set(spec.state)
        }

    def step(
        self, state: Tensors, inputs: Sequence[torch.Tensor], target: np.ndarray, draws: State
    ) -> TorchHeadStep:
        """Forward and backward; see :meth:`slfac.device.head.Head.step`."""
        made: TorchHeadStep = self._run(lambda: self._step(state, inputs, target, draws))
        return made

    @memory_errors("a head computes")
    def _step(
        self, state: Tensors, inputs: Sequence[torch.Tensor], target: np.ndarray, draws: State
    ) -> TorchHeadStep:
        held = {name: state[name] for name in self._names if name in state}
        held |= {name: held[name].clone() for name in self._updates}
        given = tuple(tensor.detach().requires_grad_() for tensor in inputs)
        drawn = drawn_for(self.spec.random, draws, self._device)
        (output,) = call_half(self._module, held, given, drawn)
        classes = self._loss == "cross_entropy"
        wanted = torch.from_numpy(target.astype(np.int64) if classes else target)
        loss = per_sample_loss(self._loss, output, wanted.to(self._device)).mean()
        numbered = {f"#{number}": tensor for number, tensor in enumerate(given)}
        trained = {name: state[name] for name in self.spec.gradients}
        found = gradients_of([loss], [torch.ones_like(loss)], {**numbered, **trained})
        return TorchHeadStep(
            loss=float(loss.detach()),
            crossing=[found[name] for name in numbered],
            gradients={name: found[name] for name in trained},
            buffers=self._new_buffers(state, held),
        )

    def _new_buffers(self, state: Tensors, held: Tensors) -> Tensors:
        found: Tensors = {}
        for name, update in self._updates.items():
            if update == "graph":
                found[name] = held[name]
            elif update == "count":
                found[name] = state[name] + 1
        return found

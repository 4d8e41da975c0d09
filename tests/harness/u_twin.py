"""The all-torch twin of a run whose head and labels stay on the devices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from harness.halves import torch_thirds
from harness.mode_twin import Draw, MakeOptimizer, ModeTwin
from slfac.data import apply, open_dataset
from slfac.wire.bundle import Bundle


class Ends(nn.Module):
    """What a device has: front and head."""

    def __init__(self, front: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.front, self.head = front, head

    def weights(self) -> dict[str, torch.Tensor]:
        """All tensors, under their names in the model."""
        return {**self.front.state_dict(), **self.head.state_dict()}


class UShapedTwin(ModeTwin):
    """Fronts and heads, one of each a device, and one middle."""

    def __init__(self, bundle: Bundle, draws: Sequence[Draw], make: MakeOptimizer) -> None:
        front, middle, head = torch_thirds(bundle)
        super().__init__("u-shaped", Ends(front, head), middle, draws, make)

    def _step(self, order: Sequence[int]) -> list[int]:
        middle = self._backs[0]
        drawn = {index: self._draws[index]() for index in order}
        ends = {index: self._fronts[index] for index in order}
        smashed = {index: ends[index].module.front(x) for index, (x, _) in drawn.items()}
        leaves = {index: z.detach().requires_grad_() for index, z in smashed.items()}
        outputs = middle.module(torch.cat([leaves[index] for index in order]))
        sizes = [len(drawn[index][1]) for index in order]
        total = sum(sizes)
        crossing = []
        for index, own in zip(order, torch.split(outputs.detach(), sizes), strict=True):
            own.requires_grad_()
            ends[index].optimizer.zero_grad()
            loss = functional.cross_entropy(ends[index].module.head(own), drawn[index][1])
            loss.backward()
            self.losses[index].append(float(loss.detach()))
            crossing.append(own.grad * (len(own) / total))
        middle.optimizer.zero_grad()
        outputs.backward(torch.cat(crossing))
        middle.optimizer.step()
        for index, size in zip(order, sizes, strict=True):
            smashed[index].backward(leaves[index].grad * (total / size))
            ends[index].optimizer.step()
        return sizes

    @torch.no_grad()
    def accuracy(self, bundle: Bundle, data: Path) -> float:
        """Accuracy on the test split."""
        manifest = bundle.manifest
        dataset = open_dataset(
            data, split="test", input_shape=manifest.input.shape, num_classes=manifest.num_outputs
        )
        self.front.eval(), self.back.eval()
        right = 0
        for start in range(0, len(dataset.labels), 1000):
            rows = slice(start, start + 1000)
            x = torch.from_numpy(apply(manifest.preprocessing, dataset.images[rows]))
            output = self.front.head(self.back(self.front.front(x)))
            right += int((output.argmax(1).numpy() == dataset.labels[rows]).sum())
        return right / len(dataset.labels)

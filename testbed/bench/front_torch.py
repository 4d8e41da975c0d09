"""The same training step by torch, to be measured beside a device's.

``python -m slfac.testbed.bench.front_torch WAY BUNDLE BATCH STEPS`` takes steps in a process of its
own, and prints the most memory that it held, in bytes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import nn

from slfac.export.rebuild import build_model, find_factory
from slfac.export.split import split
from slfac.testbed.bench.front_steps import LEARNING_RATE, MOMENTUM, make_inputs, print_peak
from slfac.wire.bundle import Bundle, open_bundle


class TorchStep:
    """As torch takes it, eagerly, on one thread.

    Args:
        bundle: The front, which is rebuilt from its factory.
        batch: Samples.
    """

    def __init__(self, bundle: Bundle, batch: int) -> None:
        torch.set_num_threads(1)
        self._front = _torch_front(bundle)
        self._optimizer = torch.optim.SGD(
            self._front.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM
        )
        x, upstream = make_inputs(bundle, batch)
        self._x = torch.from_numpy(x)
        self._upstream = [torch.from_numpy(gradient) for gradient in upstream]
        self._smashed: list[torch.Tensor] = []

    def forward(self) -> None:
        """From the batch to the smashed data."""
        self._optimizer.zero_grad()
        smashed = self._front(self._x)
        self._smashed = list(smashed) if isinstance(smashed, tuple) else [smashed]

    def backward(self) -> None:
        """From the gradient of the smashed data to those of the parameters."""
        torch.autograd.backward(self._smashed, self._upstream)

    def update(self) -> None:
        """SGD with momentum."""
        self._optimizer.step()


def _torch_front(bundle: Bundle) -> nn.Module:
    manifest = bundle.manifest
    model = build_model(find_factory(manifest.back.factory), manifest.back.kwargs)
    front = split(model, manifest.back.cut, manifest.input.shape).front
    front.load_state_dict({name: torch.tensor(v) for name, v in bundle.front_state().items()})
    return front.train()


def main(_way: str, bundle: str, batch: str, steps: str) -> None:
    """Measure the memory of torch's steps; the arguments are the command line's."""
    print_peak(TorchStep(open_bundle(Path(bundle)), int(batch)), steps)


if __name__ == "__main__":
    main(*sys.argv[1:])

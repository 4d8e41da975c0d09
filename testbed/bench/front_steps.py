"""A device's training step, to be measured.

``python -m slfac.testbed.bench.front_steps WAY BUNDLE BATCH STEPS`` takes steps in a process of its
own, without torch, and prints the most memory that it held, in bytes.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Protocol

import numpy as np

from slfac.device.front import Front
from slfac.device.memory import peak_rss_bytes
from slfac.device.optim import make_optimizer
from slfac.wire.bundle import Bundle, open_bundle

LOW_MEMORY = "low memory"
LEARNING_RATE = 1e-4
MOMENTUM = 0.9


class Step(Protocol):
    """The three parts of a training step, to be called in this order."""

    def forward(self) -> None:
        """From the batch to the smashed data."""

    def backward(self) -> None:
        """From the gradient of the smashed data to those of the parameters."""

    def update(self) -> None:
        """SGD with momentum."""


def make_inputs(bundle: Bundle, batch: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """A front's input, and gradients of what it gives.

    Args:
        bundle: The front.
        batch: Samples.

    Returns:
        Both, random but always the same.
    """
    rng = np.random.default_rng(0)
    manifest = bundle.manifest
    x = rng.standard_normal((batch, *manifest.input.shape), dtype=np.float32)
    shapes = [(batch, *spec.shape) for spec in manifest.smashed]
    return x, [1e-3 * rng.standard_normal(shape, dtype=np.float32) for shape in shapes]


class DeviceStep:
    """As a device takes it.

    Args:
        bundle: The front.
        batch: Samples.
        low_memory: As :class:`Front` takes it.
    """

    def __init__(self, bundle: Bundle, batch: int, *, low_memory: bool = False) -> None:
        self._front = Front(bundle, low_memory=low_memory)
        self._optimizer = make_optimizer(f"sgd:lr={LEARNING_RATE},momentum={MOMENTUM}")
        self._x, self._upstream = make_inputs(bundle, batch)
        self._gradients: dict[str, np.ndarray] = {}
        self.held_bytes = 0

    def forward(self) -> None:
        """From the batch to the smashed data."""
        self._front.forward(self._x)
        self.held_bytes = self._front.held_bytes

    def backward(self) -> None:
        """From the gradient of the smashed data to those of the parameters."""
        self._gradients = self._front.backward(self._upstream)

    def update(self) -> None:
        """SGD with momentum."""
        self._optimizer.step(self._front.parameters, self._gradients)


def print_peak(step: Step, steps: str) -> None:
    """Take steps, and print the most memory that this process has held, in bytes.

    Args:
        step: Takes them.
        steps: How many, in digits.
    """
    for _ in range(int(steps)):
        step.forward()
        step.backward()
        step.update()
    sys.stdout.write(f"{peak_rss_bytes()}\n")


def main(way: str, bundle: str, batch: str, steps: str) -> None:
    """Measure the memory of a device's steps; the arguments are the command line's."""
    made = DeviceStep(open_bundle(Path(bundle)), int(batch), low_memory=way == LOW_MEMORY)
    print_peak(made, steps)


if __name__ == "__main__":
    main(*sys.argv[1:])

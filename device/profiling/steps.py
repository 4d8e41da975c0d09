"""A front's training steps without a server: gradients come from a generator."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from slfac.data import BatchStream, apply, make_targets, open_dataset
from slfac.device.draws import draw
from slfac.device.front import Front
from slfac.device.optim import make_optimizer
from slfac.wire.bundle import Bundle, State
from slfac.wire.errors import DataError

_GRADIENT = 1e-3


class FrontSteps:
    """The parts of a step, to be called in their order.

    Weights hardly move: gradients are noise of a thousandth.

    Args:
        bundle: The front.
        batch: Samples of a batch.
        threads: Threads of onnxruntime.
        optimizer: What updates it.
        data: What batches are loaded from; None for one batch of noise.
        seed: Of noise and batches.

    Attributes:
        smashed: What the last forward pass gave.

    Raises:
        BundleError: A graph cannot be loaded.
        DataError: The data cannot be read or does not fit.
        SettingsError: The optimiser is unknown.
    """

    def __init__(
        self,
        bundle: Bundle,
        batch: int,
        *,
        threads: int,
        optimizer: str,
        data: Path | None = None,
        seed: int = 0,
    ) -> None:
        self._manifest = manifest = bundle.manifest
        self._front = Front(bundle, threads=threads)
        self._optimizer = make_optimizer(optimizer)
        self._seed = seed
        self._steps = 0
        rng = np.random.default_rng(seed)
        self._x = rng.standard_normal((batch, *manifest.input.shape), dtype=np.float32)
        shapes = [(batch, *spec.shape) for spec in manifest.smashed]
        self._upstream = [
            np.float32(_GRADIENT) * rng.standard_normal(shape, dtype=np.float32) for shape in shapes
        ]
        self._gradients: State = {}
        self.smashed: list[np.ndarray] = []
        self._data = self._stream = None
        if data is not None:
            self._data = open_dataset(
                data,
                split="train",
                input_shape=manifest.input.shape,
                num_classes=manifest.num_outputs,
            )
            if len(self._data) < batch:
                raise DataError(
                    f"{data} has {len(self._data)} samples, a batch has {batch}",
                    "give a smaller batch_size, or more data",
                )
            self._stream = BatchStream(len(self._data), batch, seed, 0)

    def load(self) -> None:
        """Take a batch of the data, scaled, with its targets, as training does."""
        if self._data is None or self._stream is None:
            return
        chosen = self._stream.next()
        if len(chosen) < len(self._x):  # the last of a pass
            chosen = self._stream.next()
        self._x = apply(self._manifest.preprocessing, self._data.images[chosen])
        labels = self._data.labels[chosen]
        make_targets(self._manifest.loss, labels, self._manifest.num_outputs)

    def forward(self) -> None:
        """From the batch to the smashed data, random numbers included."""
        draws = draw(self._manifest.random, len(self._x), self._seed, 0, 0, self._steps)
        self.smashed = self._front.forward(self._x, draws)
        self._steps += 1

    def backward(self) -> None:
        """From the gradient of the smashed data to those of the parameters."""
        self._gradients = self._front.backward(self._upstream)

    def update(self) -> None:
        """The optimiser's step."""
        self._optimizer.step(self._front.parameters, self._gradients)

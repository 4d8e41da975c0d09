"""The endless stream of batches that a device trains on."""

from __future__ import annotations

import numpy as np

from slfac.data.shuffle import permutation
from slfac.wire.errors import DataError, SettingsError


class BatchStream:
    """Batches in an order fixed by seed, device and epoch.

    Each epoch visits every sample in a fresh order. Its last, smaller batch is kept if it
    has at least two samples (training-mode BatchNorm needs them), and dropped otherwise.
    The position can be journalled: :meth:`state` and :meth:`restore`.

    Args:
        n: Samples the device has.
        batch_size: Samples a batch.
        seed: The run's seed.
        device: Index of the device.

    Raises:
        SettingsError: ``batch_size`` or a key is out of range.
        DataError: The samples do not make a single batch.
    """

    def __init__(self, n: int, batch_size: int, seed: int, device: int) -> None:
        if batch_size < 1:
            raise SettingsError(f"batch_size is {batch_size}", "use 1 or more")
        if seed < 0 or device < 0:
            raise SettingsError(f"seed {seed}, device {device}", "use numbers from 0")
        self._n = n
        self._batch_size = batch_size
        self._key = (seed, device)
        if self.batches_per_epoch < 1:
            raise DataError(f"{n} samples make no batch of {batch_size}", "use at least 2 samples")
        self._start(epoch=0, position=0)

    @property
    def batches_per_epoch(self) -> int:
        """Batches in every epoch."""
        return self._n // self._batch_size + (self._n % self._batch_size >= 2)

    @property
    def epoch(self) -> int:
        """The epoch that the next batch belongs to, from 0."""
        return self._epoch

    @property
    def position(self) -> int:
        """Batches of this epoch already given out."""
        return self._position

    def next(self) -> np.ndarray:
        """The next batch.

        Returns:
            ``(b,)`` int64 indices of samples, 1 <= b <= batch_size.
        """
        start = self._position * self._batch_size
        batch = self._order[start : start + self._batch_size]
        self._position += 1
        if self._position == self.batches_per_epoch:
            self._start(self._epoch + 1, 0)
        return batch

    def state(self) -> dict[str, int]:
        """Where the stream stands: ``epoch`` and ``position``."""
        return {"epoch": self._epoch, "position": self._position}

    def restore(self, state: dict[str, int]) -> None:
        """Go back to where a stream of the same arguments stood.

        Args:
            state: What :meth:`state` gave.

        Raises:
            DataError: It is not the state of a stream like this one.
        """
        epoch, position = state.get("epoch", -1), state.get("position", -1)
        if epoch < 0 or not 0 <= position < self.batches_per_epoch:
            raise DataError(
                f"batch position {state} does not fit {self.batches_per_epoch} batches an epoch",
                "the data or the batch size changed; start afresh",
            )
        self._start(epoch, position)

    def _start(self, epoch: int, position: int) -> None:
        self._epoch = epoch
        self._position = position
        self._order = permutation(self._n, (*self._key, epoch))

"""The endless stream of batches that a device trains on."""

from __future__ import annotations

import numpy as np

from slfac.data.shuffle import permutation
from slfac.wire.errors import DataError, SettingsError


class BatchStream:
    """Batches in an order fixed by seed, device and epoch.

    Each epoch visits every sample in a fresh order. Its last, smaller batch is kept if it
    has at least two samples (training-mode BatchNorm needs them), and dropped otherwise.

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
        self._start(0)

    @property
    def batches_per_epoch(self) -> int:
        """Batches in every epoch."""
        return self._n // self._batch_size + (self._n % self._batch_size >= 2)

    def next(self) -> np.ndarray:
        """The next batch.

        Returns:
            ``(b,)`` int64 indices of samples, 1 <= b <= batch_size.
        """
        start = self._position * self._batch_size
        batch = self._order[start : start + self._batch_size]
        self._position += 1
        if self._position == self.batches_per_epoch:
            self._start(self._epoch + 1)
        return batch

    def _start(self, epoch: int) -> None:
        self._epoch = epoch
        self._position = 0
        self._order = permutation(self._n, (*self._key, epoch))

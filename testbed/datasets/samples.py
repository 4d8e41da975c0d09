"""What a data set of an experiment gives: samples to train on and samples to score on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from slfac.wire.manifest import Preprocessing


@dataclass(frozen=True, kw_only=True)
class Samples:
    """A whole data set, in memory.

    Attributes:
        title: What to call it.
        x_train: ``(N, H, W)`` or ``(N, C, H, W)`` uint8, or ``(N, C, T)`` float32.
        y_train: ``(N,)`` class numbers.
        x_test: Likewise, to score on.
        y_test: Likewise.
        preprocessing: From stored values to the model's input.
        owners: ``(N,)`` numbers of the persons that the training samples are of; None where
            nobody owns them.
    """

    title: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    preprocessing: Preprocessing
    owners: np.ndarray | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample as a model takes it; a grey image has one channel."""
        shape = self.x_train.shape[1:]
        return (1, *shape) if len(shape) == 2 and self.x_train.dtype.kind in "ui" else shape

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(max(self.y_train.max(), self.y_test.max())) + 1

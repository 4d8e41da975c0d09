"""This device's samples: its part of the data set, batch by batch, and of the test split."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np

from slfac.data import BatchStream, Dataset, apply, make_targets, open_dataset, partition
from slfac.wire.errors import DataError
from slfac.wire.manifest import Manifest
from slfac.wire.messages import Plan

_log = logging.getLogger(__name__)


class Samples:
    """The training samples that a run's plan gives to one device.

    Args:
        path: The data set.
        manifest: The bundle's manifest, which the data must fit.
        plan: The run's plan: partition, batch size, seed.
        index: Index of the device.
        devices: How many devices the run counts.
        read: Opens a data set as :func:`slfac.data.open_dataset` does.

    Raises:
        DataError: The data cannot be read, does not fit, or makes no batch.
    """

    def __init__(
        self,
        path: Path,
        *,
        manifest: Manifest,
        plan: Plan,
        index: int,
        devices: int,
        read: Callable[..., Dataset] = open_dataset,
    ) -> None:
        self._manifest = manifest
        self._path = path
        self._read = read
        # Of a test split that all devices hold, each takes as much.
        alone = plan.partition.scheme == "own"
        self._test_part = slice(None) if alone else slice(index, None, devices)
        self._test: Dataset | None = None
        data = read(
            path,
            split="train",
            input_shape=manifest.input.shape,
            num_classes=manifest.num_outputs,
        )
        chosen = partition(
            data.labels,
            scheme=plan.partition.scheme,
            index=index,
            count=devices,
            beta=plan.partition.beta,
            seed=plan.seed,
            min_samples=plan.partition.min_samples,
        )
        # A part is copied so that the rest of the set leaves memory.
        own = len(chosen) < len(data)
        self._data = Dataset(data.images[chosen], data.labels[chosen]) if own else data
        if len(self._data) < 2:
            raise DataError(
                f"{path} leaves {len(self._data)} samples for this device", "a step needs two"
            )
        self._stream = BatchStream(len(self._data), plan.batch_size, plan.seed, index)

    def __len__(self) -> int:
        return len(self._data)

    @property
    def batches_per_pass(self) -> int:
        """Steps that one pass over the samples takes."""
        return self._stream.batches_per_epoch

    def place(self) -> dict[str, int]:
        """Where the stream of batches stands, for a journal."""
        return self._stream.state()

    def seek(self, place: dict[str, int]) -> None:
        """Go back to where the stream stood.

        Args:
            place: What :meth:`place` gave.

        Raises:
            DataError: It is not of such a stream.
        """
        self._stream.restore(place)

    def test(self) -> Dataset | None:
        """This device's part of the test split; None where there is none.

        Where all devices hold the same data set, each gets every n-th sample.
        """
        if self._test is None:
            try:
                data = self._read(
                    self._path,
                    split="test",
                    input_shape=self._manifest.input.shape,
                    num_classes=self._manifest.num_outputs,
                )
            except DataError as error:
                _log.info("no test split: %s", error)
                return None
            # Copied so that the rest leaves memory.
            part = self._test_part
            self._test = Dataset(data.images[part].copy(), data.labels[part].copy())
        return self._test

    def next_batch(self) -> tuple[np.ndarray, np.ndarray]:
        """The next batch.

        Returns:
            ``x`` ``(B, ...) float32``, preprocessed, and its targets.
        """
        chosen = self._stream.next()
        x = apply(self._manifest.preprocessing, self._data.images[chosen])
        labels = self._data.labels[chosen]
        return x, make_targets(self._manifest.loss, labels, self._manifest.num_outputs)

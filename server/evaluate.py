"""How good the averaged front and the back are together, on samples nobody trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from slfac.data import apply, make_targets, open_dataset
from slfac.server.back import BackHalf
from slfac.server.losses import check_target
from slfac.wire.bundle import Bundle
from slfac.wire.runtime import open_infer_session

_BATCH = 256


@dataclass(frozen=True)
class Score:
    """Result of an evaluation.

    Attributes:
        loss: Mean loss.
        accuracy: Share of samples classified correctly; None without classes.
        samples: How many there were.
    """

    loss: float
    accuracy: float | None
    samples: int


class Evaluator:
    """Holds the test split and scores fronts on it.

    Args:
        bundle: The bundle in training.
        data: Data set with a test split.
        threads: Threads of onnxruntime; 0 leaves it to it.

    Raises:
        DataError: The data set cannot be read, or does not fit the model.
    """

    def __init__(self, bundle: Bundle, data: Path, threads: int) -> None:
        manifest = bundle.manifest
        self._bundle = bundle
        self._threads = threads
        self._data = open_dataset(
            data,
            split="test",
            input_shape=manifest.input.shape,
            num_classes=manifest.num_outputs,
        )

    def __len__(self) -> int:
        return len(self._data)

    def score(self, front: Mapping[str, np.ndarray], back: BackHalf) -> Score:
        """Evaluate a front with the back as it stands.

        Args:
            front: Parameters and buffers by name.
            back: The back half.

        Returns:
            The score.
        """
        manifest = self._bundle.manifest
        session = open_infer_session(self._bundle, front, threads=self._threads)
        outputs = list(manifest.graphs.infer.outputs)
        loss, hits = 0.0, 0
        for start in range(0, len(self._data), _BATCH):
            part = slice(start, start + _BATCH)
            x = apply(manifest.preprocessing, self._data.images[part])
            smashed = session.run(outputs, {manifest.input.name: x})
            targets = make_targets(manifest.loss, self._data.labels[part], manifest.num_outputs)
            batch_loss, batch_hits = back.evaluate(
                smashed, check_target(manifest, targets, len(targets))
            )
            loss += batch_loss
            hits += batch_hits
        count = len(self._data)
        accuracy = hits / count if manifest.loss == "cross_entropy" else None
        return Score(loss=loss / count, accuracy=accuracy, samples=count)

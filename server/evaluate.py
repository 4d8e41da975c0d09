"""How good the averaged front and the back are together, on samples nobody trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from slfac.data import apply, has_classes, make_targets, open_dataset
from slfac.server.back import BackHalf
from slfac.server.losses import check_target
from slfac.server.scores import ClassScores, class_scores
from slfac.wire.bundle import Bundle
from slfac.wire.runtime import open_infer_session

PER_CLASS = ("recall", "confusion")
SCORES = ("loss", "accuracy", "balanced_accuracy", *PER_CLASS)
_BATCH = 256
Compute = Callable[[np.ndarray], list[np.ndarray]]


@dataclass(frozen=True)
class Score:
    """Result of an evaluation.

    Attributes:
        loss: Mean loss.
        accuracy: Share of samples classified correctly; None without classes.
        samples: How many there were.
        classes: Scores of the classes; None without classes.
    """

    loss: float
    accuracy: float | None
    samples: int
    classes: ClassScores | None

    @property
    def balanced_accuracy(self) -> float | None:
        """Mean of the classes' recalls; None without classes."""
        return self.classes.balanced_accuracy if self.classes is not None else None

    def as_event(self) -> dict[str, Any]:
        """What the metrics say of it: a value for each of :data:`SCORES`."""
        classes = self.classes
        return {
            "loss": self.loss,
            "accuracy": self.accuracy,
            "balanced_accuracy": self.balanced_accuracy,
            "recall": classes.recall if classes is not None else None,
            "confusion": classes.confusion if classes is not None else None,
        }


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

    def open_front(self, front: Mapping[str, np.ndarray]) -> Compute:
        """Make a front ready to evaluate with.

        Args:
            front: Parameters and buffers by name.

        Returns:
            Gives the smashed data of a batch ``(B, ...) float32``, an array a smashed tensor.
        """
        graphs, name = self._bundle.manifest.graphs, self._bundle.manifest.input.name
        session = open_infer_session(self._bundle, front, threads=self._threads)
        return lambda x: session.run(list(graphs.infer.outputs), {name: x})

    def score(self, front: Mapping[str, np.ndarray], back: BackHalf) -> Score:
        """Evaluate a front with the back as it stands.

        Args:
            front: Parameters and buffers by name.
            back: The back half.

        Returns:
            The score.
        """
        manifest = self._bundle.manifest
        compute = self.open_front(front)
        loss, predicted = 0.0, np.zeros(len(self._data), np.int64)
        for start in range(0, len(self._data), _BATCH):
            part = slice(start, start + _BATCH)
            x = apply(manifest.preprocessing, self._data.images[part])
            smashed = compute(x)
            targets = make_targets(manifest.loss, self._data.labels[part], manifest.num_outputs)
            batch_loss, predicted[part] = back.evaluate(
                smashed, check_target(manifest, targets, len(targets))
            )
            loss += batch_loss
        count = len(self._data)
        if not has_classes(manifest):
            return Score(loss=loss / count, accuracy=None, samples=count, classes=None)
        labels = self._data.labels
        return Score(
            loss=loss / count,
            accuracy=int((predicted == labels).sum()) / count,
            samples=count,
            classes=class_scores(labels, predicted, manifest.num_outputs),
        )

"""What a classifier gets right, class by class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# The matrix has a number for each pair of classes, and is written in every round.
MAX_CONFUSION_CLASSES = 100


@dataclass(frozen=True)
class ClassScores:
    """Scores of the classes.

    Attributes:
        balanced_accuracy: Mean of the classes' recalls, of those that have samples.
        recall: Share of each class's samples that were classified correctly; None for a
            class without samples.
        confusion: Samples by true class (row) and predicted class (column); None with more
            than :data:`MAX_CONFUSION_CLASSES` classes.
    """

    balanced_accuracy: float
    recall: tuple[float | None, ...]
    confusion: tuple[tuple[int, ...], ...] | None


def class_scores(labels: np.ndarray, predicted: np.ndarray, classes: int) -> ClassScores:
    """Compare predicted classes with the true ones.

    Args:
        labels: ``(N,)`` integers in [0, classes), at least one.
        predicted: ``(N,)`` integers in [0, classes).
        classes: How many there are.

    Returns:
        The scores.
    """
    totals = np.bincount(labels, minlength=classes)
    hits = np.bincount(labels[labels == predicted], minlength=classes)
    present = totals > 0
    recall = hits / np.maximum(totals, 1)
    confusion = None
    if classes <= MAX_CONFUSION_CLASSES:
        pairs = labels.astype(np.int64) * classes + predicted
        matrix = np.bincount(pairs, minlength=classes**2).reshape(classes, classes)
        confusion = tuple(map(tuple, matrix.tolist()))
    return ClassScores(
        balanced_accuracy=float(recall[present].mean()),
        recall=tuple(
            value if known else None
            for value, known in zip(recall.tolist(), present.tolist(), strict=True)
        ),
        confusion=confusion,
    )

"""What the loss compares outputs with, from class labels."""

from __future__ import annotations

import numpy as np

from slfac.wire.manifest import Loss, Manifest

# Their targets are labels, or one-hot vectors of labels.
_OF_CLASSES = ("cross_entropy", "bce_with_logits")


def make_targets(loss: Loss, labels: np.ndarray, num_outputs: int) -> np.ndarray:
    """Targets of a batch in the smallest form that the loss can take.

    Args:
        loss: The loss's name.
        labels: ``(B,)`` integers in [0, num_outputs).
        num_outputs: Width of the model's output.

    Returns:
        For cross_entropy ``(B,)`` uint8 where it holds every class, else int32; otherwise
        one-hot ``(B, num_outputs) float32``.
    """
    if loss == "cross_entropy":
        return labels.astype(np.uint8 if num_outputs <= 256 else np.int32)
    one_hot = np.zeros((len(labels), num_outputs), np.float32)
    one_hot[np.arange(len(labels)), labels] = 1.0
    return one_hot


def has_classes(manifest: Manifest) -> bool:
    """Whether the largest of a model's outputs is the class that it predicts.

    Args:
        manifest: The bundle's manifest.
    """
    return manifest.loss in _OF_CLASSES and manifest.num_outputs > 1

"""The losses a bundle may name, summed over samples in NumPy: for evaluation."""

from __future__ import annotations

import numpy as np

from slfac.wire.manifest import Loss


def loss_sum(loss: Loss, output: np.ndarray, target: np.ndarray) -> float:
    """Sum of the samples' losses.

    Args:
        loss: Its name.
        output: ``(B, num_outputs) float32``.
        target: As :func:`slfac.data.make_targets` makes them.

    Returns:
        The sum, computed in float64.
    """
    y = output.astype(np.float64)
    if loss == "cross_entropy":
        shifted = y - y.max(1, keepdims=True)
        chosen = shifted[np.arange(len(y)), target]
        return float((np.log(np.exp(shifted).sum(1)) - chosen).sum())
    values = np.logaddexp(0.0, y) - y * target if loss == "bce_with_logits" else (y - target) ** 2
    return float(values.mean(1).sum())

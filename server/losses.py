"""The losses a bundle may name, one value a sample."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from slfac.wire.errors import ProtocolError
from slfac.wire.manifest import Loss, Manifest


def per_sample_loss(loss: Loss, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Loss of each sample; its mean over a batch is the batch's loss.

    Args:
        loss: Its name.
        output: ``(N, num_outputs) float32``.
        target: ``(N,) int64`` for cross_entropy, ``(N, num_outputs) float32`` otherwise.

    Returns:
        ``(N,) float32``.
    """
    if loss == "cross_entropy":
        return functional.cross_entropy(output, target, reduction="none")
    if loss == "bce_with_logits":
        values = functional.binary_cross_entropy_with_logits(output, target, reduction="none")
    else:
        values = functional.mse_loss(output, target, reduction="none")
    return values.flatten(1).mean(1)


def check_target(manifest: Manifest, target: np.ndarray, samples: int) -> np.ndarray:
    """Check targets from the network against the loss.

    Args:
        manifest: The bundle's manifest.
        target: As decoded.
        samples: Samples in the batch.

    Returns:
        The targets in the dtype that the loss takes.

    Raises:
        ProtocolError: Shape, dtype or range do not fit.
    """
    if manifest.loss == "cross_entropy":
        if target.shape != (samples,) or target.dtype.kind not in "iu":
            raise ProtocolError(
                f"targets are {target.shape} {target.dtype}, ({samples},) integers were expected"
            )
        if target.size and (int(target.min()) < 0 or int(target.max()) >= manifest.num_outputs):
            raise ProtocolError(
                f"a label is outside 0..{manifest.num_outputs - 1}",
                "check the labels, or export the model with more classes",
            )
        return target.astype(np.int64)
    if target.shape != (samples, manifest.num_outputs) or not np.isfinite(target).all():
        raise ProtocolError(
            f"targets are {target.shape}, finite ({samples}, {manifest.num_outputs}) were expected"
        )
    if manifest.loss == "bce_with_logits" and not ((target >= 0) & (target <= 1)).all():
        raise ProtocolError("a target is outside 0..1, which bce_with_logits needs")
    return target.astype(np.float32)

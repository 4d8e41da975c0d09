"""Takes the last activation off an imported classifier, where the loss computes it itself."""

from __future__ import annotations

from typing import Any

from slfac.wire.manifest import Loss

_COMPUTED_BY = {"cross_entropy": "Softmax", "bce_with_logits": "Sigmoid"}


def without_last_activation(
    structure: dict[str, Any], loss: Loss
) -> tuple[dict[str, Any], str | None]:
    """Drop a final Softmax before cross entropy, or a Sigmoid before its binary kin.

    Both losses are of logits; training through the activation as well would be training a
    softmax of a softmax.

    Args:
        structure: As :func:`slfac.export.onnx_model.read_onnx` gives it; not changed.
        loss: The loss to train with.

    Returns:
        The structure, and the operator that was dropped; None where there was none.
    """
    nodes = structure["nodes"]
    last = next((node for node in nodes if structure["output"] in node[2]), None)
    dropped = _COMPUTED_BY.get(loss)
    if last is None or last[0] != dropped:
        return structure, None
    kept = [node for node in nodes if node is not last]
    return {**structure, "nodes": kept, "output": last[1][0]}, dropped

"""The evaluation-mode front as ONNX, with its weights to be injected when it is opened."""

from __future__ import annotations

import copy

import onnx
import torch
from torch import nn

from slfac.export.onnx_outside import store_outside
from slfac.export.to_onnx import BATCH, to_onnx
from slfac.export.trace import X, smashed_names
from slfac.wire.errors import ExportError


def trace_inference(
    front: nn.Module, input_shape: tuple[int, ...], smashed: int
) -> onnx.ModelProto:
    """Translate a front in evaluation mode.

    Args:
        front: The front; it is not changed.
        input_shape: Shape of one sample.
        smashed: How many tensors it gives.

    Returns:
        A graph from ``x`` to the smashed data, whose initializers are the front's parameters
        and buffers by name, stored outside the graph.

    Raises:
        ExportError: A weight is not used in evaluation.
        Exception: An operator of the front has no translation; see
            :func:`slfac.export.culprit.named_culprit`.
    """
    model = copy.deepcopy(front).eval()
    state = dict(model.state_dict())
    proto = to_onnx(
        model,
        [torch.zeros(2, *input_shape)],
        # One for each of the inputs that a half takes, of which a front has one.
        (({0: BATCH},),),
        inputs=[X],
        outputs=smashed_names(smashed),
        tidy=False,
    )
    for tensor in proto.graph.initializer:
        if tensor.name in state:
            store_outside(tensor)
            del state[tensor.name]
    lost = [name for name, value in state.items() if value.is_floating_point()]
    if lost:
        raise ExportError(f"weight {lost[0]!r} is not used, or not by its name, in evaluation")
    return proto

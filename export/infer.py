"""Front or head in evaluation mode as ONNX, with its weights to be injected when it is opened."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import onnx
import torch
from torch import nn

from slfac.export.onnx_outside import store_outside
from slfac.export.to_onnx import BATCH, to_onnx
from slfac.wire.errors import ExportError


def trace_inference(
    half: nn.Module, inputs: Mapping[str, tuple[int, ...]], outputs: Sequence[str]
) -> onnx.ModelProto:
    """Translate a front or head in evaluation mode.

    Args:
        half: It; it is not changed.
        inputs: Names of its inputs, in order -> shapes without the batch axis.
        outputs: Names of its outputs, in order.

    Returns:
        A graph from the inputs to the outputs, whose initializers are the half's parameters
        and buffers by name, stored outside the graph.

    Raises:
        ExportError: A weight is not used in evaluation.
        Exception: An operator of the half has no translation; see
            :func:`slfac.export.culprit.named_culprit`.
    """
    model = copy.deepcopy(half).eval()
    state = dict(model.state_dict())
    proto = to_onnx(
        model,
        [torch.zeros(2, *shape) for shape in inputs.values()],
        (tuple({0: BATCH} for _ in inputs),),
        inputs=list(inputs),
        outputs=list(outputs),
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

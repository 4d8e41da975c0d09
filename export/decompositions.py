"""Which operators are traced as something else, because ONNX lacks them or torch loses them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx
from torch._decomp import core_aten_decompositions

from slfac.export.activation_gradients import hardtanh_backward, threshold_backward
from slfac.export.conv_cases import convolution_backward
from slfac.export.gelu import gelu, gelu_backward
from slfac.export.norm_gradients import weight_norm_backward
from slfac.export.pool_gradients import (
    adaptive_avg_pool2d_backward,
    avg_pool2d,
    avg_pool2d_backward,
    max_pool2d_backward,
)
from slfac.export.resize_gradients import (
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    adaptive_max_pool2d_backward,
    replication_pad_backward,
)
from slfac.export.select_gradients import select_backward

aten: Any = torch.ops.aten

# Those that evaluation needs as well.
_OWN_FORWARDS: dict[Any, Callable[..., Any]] = {
    aten.adaptive_max_pool1d.default: adaptive_max_pool1d,
    aten.adaptive_max_pool2d.default: adaptive_max_pool2d,
    aten.avg_pool2d.default: avg_pool2d,
    aten.gelu.default: gelu,
}


def own_forwards(graph: fx.Graph) -> dict[Any, Callable[..., Any]]:
    """Of a graph in evaluation, the operators that need what stands for them here.

    Args:
        graph: A graph of ATen operators.

    Returns:
        ATen operator -> what to trace in its place.
    """
    found = {
        node.target
        for node in graph.nodes
        # The seventh argument is a divisor of its own.
        if node.target is not aten.avg_pool2d.default or len(node.args) > 6
    }
    return {operator: own for operator, own in _OWN_FORWARDS.items() if operator in found}


def decomposition_table() -> dict[Any, Callable[..., Any]]:
    """ATen operator -> what to trace in its place."""
    return {**core_aten_decompositions(), **own_decompositions()}


def own_decompositions() -> dict[Any, Callable[..., Any]]:
    """Those that torch does not have, or has in a form that is slow or not exact."""
    return {
        aten.convolution_backward.default: convolution_backward,
        aten.max_pool2d_with_indices_backward.default: max_pool2d_backward,
        aten.avg_pool2d_backward.default: avg_pool2d_backward,
        aten._adaptive_avg_pool2d_backward.default: adaptive_avg_pool2d_backward,
        **_OWN_FORWARDS,
        aten.adaptive_max_pool2d_backward.default: adaptive_max_pool2d_backward,
        aten.replication_pad1d_backward.default: replication_pad_backward,
        aten.replication_pad2d_backward.default: replication_pad_backward,
        aten.threshold_backward.default: threshold_backward,
        aten.hardtanh_backward.default: hardtanh_backward,
        aten.gelu_backward.default: gelu_backward,
        aten.select_backward.default: select_backward,
        aten._weight_norm_interface_backward.default: weight_norm_backward,
        aten.empty_permuted.default: _empty,
    }


def _empty(size: Sequence[int], order: Sequence[int], **options: Any) -> torch.Tensor:
    """Stands for ``aten.empty_permuted``: how memory is laid out is nothing to ONNX."""
    del order
    return torch.empty(tuple(size), **options)

"""Which backward operators are traced as something else, because ONNX lacks them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch._decomp import core_aten_decompositions

from slfac.export.activation_gradients import hardtanh_backward, threshold_backward
from slfac.export.conv_gradients import convolution_backward
from slfac.export.pool_gradients import (
    adaptive_avg_pool2d_backward,
    avg_pool2d_backward,
    max_pool2d_backward,
)
from slfac.export.select_gradients import select_backward

aten: Any = torch.ops.aten


def decomposition_table() -> dict[Any, Callable[..., Any]]:
    """ATen operator -> what to trace in its place."""
    table: dict[Any, Callable[..., Any]] = dict(core_aten_decompositions())
    table[aten.convolution_backward.default] = convolution_backward
    table[aten.max_pool2d_with_indices_backward.default] = max_pool2d_backward
    table[aten.avg_pool2d_backward.default] = avg_pool2d_backward
    table[aten._adaptive_avg_pool2d_backward.default] = adaptive_avg_pool2d_backward
    table[aten.threshold_backward.default] = threshold_backward
    table[aten.hardtanh_backward.default] = hardtanh_backward
    table[aten.select_backward.default] = select_backward
    return table

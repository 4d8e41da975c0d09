"""Gradients of two-dimensional convolutions, with operators that ONNX has.

Which form a weight gradient takes was chosen by measurement in onnxruntime; inserting
zeros between the values of a stride-8 convolution, say, took 200 times as long.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from slfac.export.windows import window_slices

aten: Any = torch.ops.aten

# Up to this many taps, and from this many channels, one matrix product per tap beats a
# convolution with batch and channels swapped.
_MAX_PRODUCT_TAPS = 9
_MIN_PRODUCT_CHANNELS = 16


def convolution_backward(  # noqa: PLR0917 - the operator's own order
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    bias_sizes: Sequence[int] | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
    output_mask: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Stands for ``aten.convolution_backward``, whose arguments it has.

    It is for plain two-dimensional ones; :mod:`slfac.export.conv_cases` leads the others here.

    Returns:
        Gradients of the input, weight and bias; None where ``output_mask`` wants none.
    """
    del bias_sizes, transposed, output_padding
    grad_x = grad_weight = grad_bias = None
    if output_mask[0]:
        sizes = zip(
            x.shape[2:], grad.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True
        )
        rest = [h - ((o - 1) * s - 2 * p + d * (k - 1) + 1) for h, o, k, s, p, d in sizes]
        grad_x = aten.convolution(grad, weight, None, stride, padding, dilation, True, rest, groups)
    if output_mask[1]:
        geometry = (stride, padding, dilation)
        grad_weight = _convolution_weight_gradient(grad, x, weight.shape, geometry, groups)
    if output_mask[2]:
        grad_bias = grad.sum((0, 2, 3))
    return grad_x, grad_weight, grad_bias


def _convolution_weight_gradient(
    grad: Tensor,
    x: Tensor,
    shape: Sequence[int],
    geometry: tuple[Sequence[int], Sequence[int], Sequence[int]],
    groups: int,
) -> Tensor:
    stride, padding, dilation = geometry
    _, inner, *kernel = shape
    taps = math.prod(kernel)
    if groups == 1 and (inner < _MIN_PRODUCT_CHANNELS or taps > _MAX_PRODUCT_TAPS):
        # The gradient is a convolution too: batch and channels change places, and so do
        # stride and dilation. Rows that a stride left over give extra outputs: cut off.
        swapped: Tensor = aten.convolution(
            x.transpose(0, 1), grad.transpose(0, 1), None,
            dilation, padding, stride, False, [0, 0], 1,
        )  # fmt: skip
        return swapped.transpose(0, 1)[:, :, : kernel[0], : kernel[1]]
    padded = functional.pad(x, (padding[1], padding[1], padding[0], padding[0]))
    seen = window_slices(padded, kernel, stride, dilation, grad.shape[2:])
    if inner == 1:
        return _depthwise_weight_gradient(grad, seen, shape, groups)
    batch, outer, pixels = grad.shape[0], grad.shape[1], math.prod(grad.shape[2:])
    # The groups of a sample are products of their own, like samples.
    rows = grad.reshape(batch * groups, outer // groups, pixels)
    products = [
        torch.bmm(rows, tap.reshape(batch * groups, inner, pixels).transpose(1, 2)) for tap in seen
    ]
    stacked = torch.cat(products, 1)
    if groups > 1:
        stacked = stacked.reshape(batch, groups, taps * (outer // groups), inner)
    total = stacked.sum(0).reshape(groups, taps, outer // groups, inner)
    return total.permute(0, 2, 3, 1).reshape(tuple(shape))


def _depthwise_weight_gradient(
    grad: Tensor, seen: list[Tensor], shape: Sequence[int], groups: int
) -> Tensor:
    batch, outer, *size = grad.shape
    rows = grad.reshape(batch, groups, outer // groups, *size)
    sums = [(rows * tap.unsqueeze(2)).sum((0, 3, 4)).reshape(-1) for tap in seen]
    return torch.stack(sums, -1).reshape(tuple(shape))

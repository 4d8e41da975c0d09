"""Operators that torch has no single function for.

Each is one node of a graph, so that a model has as many nodes as its file; tracing sees
through them. None makes a tensor from Python values, which a trace would keep as a constant.
Pads are given as in ONNX: all beginnings, then all ends, of the spatial axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional

_CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d}
_MAX_POOLS = {1: functional.max_pool1d, 2: functional.max_pool2d}
_AVG_POOLS = {1: functional.avg_pool1d, 2: functional.avg_pool2d}


def torch_pads(pads: Sequence[int]) -> list[int]:
    """ONNX's order of pads in torch's: last axis first, both ends of an axis together."""
    half = len(pads) // 2
    pairs = zip(pads[:half], pads[half:], strict=True)
    return [value for pair in reversed(list(pairs)) for value in pair]


def padded_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
    groups: int,
) -> Tensor:
    """Convolution whose two ends of an axis are padded differently."""
    padded = functional.pad(x, torch_pads(pads))
    convolve = _CONVOLUTIONS[len(strides)]
    return convolve(padded, weight, bias, list(strides), 0, list(dilations), groups)


def padded_max_pool(
    x: Tensor,
    *,
    kernel: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
) -> Tensor:
    """Max pooling with pads that torch's own does not take."""
    padded = functional.pad(x, torch_pads(pads), value=float("-inf"))
    pool = _MAX_POOLS[len(kernel)]
    return pool(padded, list(kernel), list(strides), 0, list(dilations))


def padded_avg_pool(
    x: Tensor,
    *,
    kernel: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[int],
    counted: Sequence[int],
) -> Tensor:
    """Average pooling with pads of zeros, of which only some count in the divisor.

    Args:
        x: ``(B, C, T)`` or ``(B, C, H, W)``.
        kernel: Sizes of a window.
        strides: Steps between windows.
        pads: All pads.
        counted: The pads that count, none larger than in ``pads``.
    """
    pool = _AVG_POOLS[len(kernel)]
    ones = functional.pad(x.new_ones((1, 1, *x.shape[2:])), torch_pads(counted), value=1.0)
    rest = [a - b for a, b in zip(pads, counted, strict=True)]
    shares = pool(functional.pad(ones, torch_pads(rest)), list(kernel), list(strides))
    sums = pool(functional.pad(x, torch_pads(pads)), list(kernel), list(strides))
    return torch.div(sums, shares)


def gemm(
    a: Tensor,
    b: Tensor,
    c: Tensor | float | None,
    *,
    alpha: float,
    beta: float,
    flip: Sequence[int],
) -> Tensor:
    """``alpha * a @ b + beta * c``, where ``flip`` says which of a and b are transposed."""
    product = torch.matmul(a.t() if flip[0] else a, b.t() if flip[1] else b)
    if alpha != 1:
        product = product * alpha
    if c is None:
        return product
    return product + (c if beta == 1 else c * beta)


def flat_softmax(x: Tensor, axis: int, log: bool) -> Tensor:
    """Softmax over all values from an axis on, as ONNX had it before opset 13."""
    flat = torch.flatten(x, axis)
    done = functional.log_softmax(flat, -1) if log else functional.softmax(flat, -1)
    return done.reshape(x.shape)


def hard_sigmoid(x: Tensor, alpha: float, beta: float) -> Tensor:
    """``alpha * x + beta``, clamped to [0, 1]."""
    return torch.clamp(x * alpha + beta, 0.0, 1.0)


def scaled_elu(x: Tensor, alpha: float, gamma: float) -> Tensor:
    """``gamma * elu(x, alpha)``: ONNX's Selu with any constants."""
    return functional.elu(x, alpha) * gamma


def general_prelu(x: Tensor, slope: Tensor) -> Tensor:
    """PRelu whose slopes are not one a channel."""
    return functional.relu(x) - slope * functional.relu(-x)


def extreme(*values: Tensor | float, largest: bool) -> Tensor:
    """Least or greatest of several tensors and numbers, elementwise with broadcasting."""
    tensors = [value for value in values if isinstance(value, Tensor)]
    numbers = [value for value in values if not isinstance(value, Tensor)]
    both = torch.maximum if largest else torch.minimum
    result = reduce(both, tensors)
    if numbers:
        bound = max(numbers) if largest else min(numbers)
        result = torch.clamp(result, min=bound) if largest else torch.clamp(result, max=bound)
    return result


def norm_l2(x: Tensor, axes: Sequence[int], keep: bool) -> Tensor:
    """Root of the sum of squares over some axes."""
    return torch.sqrt(torch.sum(x * x, list(axes), keepdim=keep))


def repeat_concat(*values: Tensor, axis: int, repeat: Sequence[int]) -> Tensor:
    """Concatenation in which the tensors of the given places hold one sample for all."""
    batch = next(v.shape[0] for i, v in enumerate(values) if i not in repeat)
    whole = [v.expand(batch, *v.shape[1:]) if i in repeat else v for i, v in enumerate(values)]
    return torch.cat(whole, axis)


def strided_slice(x: Tensor, ranges: Sequence[int]) -> Tensor:
    """Slice along some axes; ``ranges`` holds axis, start, end and step for each."""
    for i in range(0, len(ranges), 4):
        axis, start, end, step = ranges[i : i + 4]
        x = x[(slice(None),) * axis + (slice(start, end, step),)]
    return x


def take(x: Tensor, axis: int, indices: Sequence[int]) -> Tensor:
    """Given places along an axis, in the given order, put together from runs of neighbours."""
    runs: list[list[int]] = []
    for index in indices:
        if runs and index == runs[-1][0] + runs[-1][1]:
            runs[-1][1] += 1
        else:
            runs.append([index, 1])
    parts = [torch.narrow(x, axis, start, length) for start, length in runs]
    return parts[0] if len(parts) == 1 else torch.cat(parts, axis)


def unsqueeze(x: Tensor, axes: Sequence[int]) -> Tensor:
    """New axes of size 1, at their places in the result, in rising order."""
    for axis in axes:
        x = x.unsqueeze(axis)
    return x


def depth_to_space(x: Tensor, block: int) -> Tensor:
    """ONNX's DCR order, in which the block's place varies slowest along the channels."""
    batch, channels, height, width = x.shape
    split = x.reshape(batch, block, block, channels // block**2, height, width)
    return split.permute(0, 3, 4, 1, 5, 2).reshape(
        batch, channels // block**2, height * block, width * block
    )

"""Gradients of two-dimensional poolings, with operators that ONNX has."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from slfac.export.windows import window_slices

aten: Any = torch.ops.aten


def max_pool2d_backward(  # noqa: PLR0917
    grad: Tensor,
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
    indices: Tensor,
) -> Tensor:
    """Stands for ``aten.max_pool2d_with_indices_backward``, whose arguments it has.

    The first largest value of each window, row by row, takes the gradient, as in torch.
    onnxruntime's MaxPool with indices is some 20 times slower than without, so the
    windows are compared with their maximum instead.

    Returns:
        Gradient of the input.
    """
    del indices
    batch, channels, *size = x.shape
    output = grad.shape[2:]
    kernel, stride, padding, dilation = map(_pair, (kernel, stride or kernel, padding, dilation))
    spans = [
        (o - 1) * s + d * (k - 1) + 1
        for o, s, d, k in zip(output, stride, dilation, kernel, strict=True)
    ]
    after = [max(0, n - h - p) for n, h, p in zip(spans, size, padding, strict=True)]
    pads = (padding[1], after[1], padding[0], after[0])
    padded = functional.pad(x, pads, value=-math.inf) if any(pads) else x
    largest = aten.max_pool2d_with_indices(x, kernel, stride, padding, dilation, ceil_mode)[0]
    zero = torch.zeros(())
    shares, taken = [], None
    for tap in window_slices(padded, kernel, stride, dilation, output):
        equal = tap == largest
        first = equal if taken is None else torch.logical_and(equal, torch.logical_not(taken))
        taken = equal if taken is None else torch.logical_or(taken, equal)
        shares.append(torch.where(first, grad, zero))
    count = len(shares)
    # Putting the shares back in their places is a transposed convolution with ones.
    stacked = torch.stack(shares, 2).reshape(batch * channels, count, *output)
    places = torch.eye(count).reshape(count, 1, *kernel).to(grad.dtype)
    whole: Tensor = aten.convolution(
        stacked, places, None, stride, [0, 0], dilation, True, [0, 0], 1
    )
    missing = [max(0, p + h - n) for n, h, p in zip(spans, size, padding, strict=True)]
    if any(missing):
        whole = functional.pad(whole, (0, missing[1], 0, missing[0]))
    top, left = padding
    return whole[:, :, top : top + size[0], left : left + size[1]].reshape(x.shape)


def avg_pool2d_backward(  # noqa: PLR0917
    grad: Tensor,
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Tensor:
    """Stands for ``aten.avg_pool2d_backward``, whose arguments it has.

    Returns:
        Gradient of the input.
    """
    del ceil_mode  # it shows in the shape of grad
    kernel, stride, padding = map(_pair, (kernel, stride or kernel, padding))
    matrices = []
    for o, h, k, s, p in zip(grad.shape[2:], x.shape[2:], kernel, stride, padding, strict=True):
        starts = [i * s - p for i in range(o)]
        ends = [min(start + k, h + p) for start in starts]
        inside = [(max(a, 0), min(b, h)) for a, b in zip(starts, ends, strict=True)]
        counted = list(zip(starts, ends, strict=True)) if count_include_pad else inside
        counts = [1 if divisor_override else b - a for a, b in counted]
        matrices.append(_window_means(inside, counts, h))
    whole = _spread(grad, matrices)
    return whole / divisor_override if divisor_override else whole


def adaptive_avg_pool2d_backward(grad: Tensor, x: Tensor) -> Tensor:
    """Stands for ``aten._adaptive_avg_pool2d_backward``, whose arguments it has.

    Returns:
        Gradient of the input.
    """
    matrices = []
    for o, h in zip(grad.shape[2:], x.shape[2:], strict=True):
        windows = [(i * h // o, -(-(i + 1) * h // o)) for i in range(o)]
        matrices.append(_window_means(windows, [b - a for a, b in windows], h))
    return _spread(grad, matrices)


def _window_means(windows: list[tuple[int, int]], counts: list[int], size: int) -> Tensor:
    """``(outputs, size)``: row o averages the values of window o along one axis."""
    rows = [
        [1.0 / count if start <= i < end else 0.0 for i in range(size)]
        for (start, end), count in zip(windows, counts, strict=True)
    ]
    return torch.tensor(rows)


def _spread(grad: Tensor, matrices: list[Tensor]) -> Tensor:
    """Transpose of averaging over rows and then columns: two matrix products."""
    rows, columns = (matrix.to(grad.dtype) for matrix in matrices)
    return torch.matmul(torch.matmul(rows.t(), grad), columns)


def _pair(value: Sequence[int]) -> list[int]:
    return [int(v) for v in value] if len(value) == 2 else [int(value[0])] * 2

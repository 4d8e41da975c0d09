"""Gradients of two-dimensional convolutions, with operators that ONNX has.

Which form a gradient takes was chosen by measurement in onnxruntime; inserting zeros
between the values of a stride-8 convolution, say, took 200 times as long.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from slfac.export.windows import window_slices

aten: Any = torch.ops.aten

# Up to this many taps, and from this many channels, one matrix product per tap beats a
# convolution with batch and channels swapped.
_MAX_PRODUCT_TAPS = 9
_MIN_PRODUCT_CHANNELS = 16


class _Geometry(NamedTuple):
    stride: Sequence[int]
    padding: Sequence[int]
    dilation: Sequence[int]
    groups: int


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
    geometry = _Geometry(stride, padding, dilation, groups)
    grad_x = grad_weight = grad_bias = None
    if output_mask[0]:
        grad_x = _input_gradient(grad, weight, x.shape[2:], geometry)
    if output_mask[1]:
        grad_weight = _weight_gradient(grad, x, weight.shape, geometry)
    if output_mask[2]:
        grad_bias = grad.sum((0, 2, 3))
    return grad_x, grad_weight, grad_bias


def _input_gradient(
    grad: Tensor, weight: Tensor, size: Sequence[int], geometry: _Geometry
) -> Tensor:
    stride, padding, dilation, groups = geometry
    outer, inner, *kernel = weight.shape
    reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    back = [r - p for r, p in zip(reach, padding, strict=True)]
    depthwise = inner == 1 and outer == groups
    pointwise = groups == 1 and math.prod(kernel) == 1
    if (depthwise or pointwise) and set(stride) == {1} and min(back) >= 0:
        # A plain convolution does the same, here up to twice as fast as a transposed one.
        turned = weight.flip(2, 3) if depthwise else weight.transpose(0, 1)
        plain: Tensor = aten.convolution(
            grad, turned, None, [1, 1], back, dilation, False, [0, 0], groups
        )
        return plain
    sizes = zip(size, grad.shape[2:], reach, stride, padding, strict=True)
    rest = [h - ((o - 1) * s - 2 * p + r + 1) for h, o, r, s, p in sizes]
    spread: Tensor = aten.convolution(
        grad, weight, None, stride, padding, dilation, True, rest, groups
    )
    return spread


def _weight_gradient(grad: Tensor, x: Tensor, shape: Sequence[int], geometry: _Geometry) -> Tensor:
    stride, padding, _, groups = geometry
    outer, inner, *kernel = shape
    taps = math.prod(kernel)
    if inner == 1 and outer == groups:
        return _depthwise_by_rows(grad, x, kernel, geometry)
    if groups == 1 and taps == 1 and not any(padding):
        seen = x if set(stride) == {1} else x[:, :, :: stride[0], :: stride[1]]
        # Where the products of the samples are larger than both inputs, summing them costs more
        # than what _by_taps copies.
        if outer * inner <= (outer + inner) * math.prod(grad.shape[2:]):
            return _pointwise(grad, seen).reshape(tuple(shape))
    few = inner < _MIN_PRODUCT_CHANNELS
    if groups == 1 and (taps > _MAX_PRODUCT_TAPS or (few and max(stride) > 1)):
        return _swapped(grad, x, shape, geometry)
    if groups == 1 and not few:
        return _by_taps(grad, x, shape, geometry)
    return _by_windows(grad, x, shape, geometry)


def _pointwise(grad: Tensor, seen: Tensor) -> Tensor:
    """One product a sample, of images as they lie: half the time of one over the batch.

    With the more channels first; the other order took up to 1.7 times as long.
    """
    outer, inner = grad.flatten(2), seen.flatten(2)
    if outer.shape[1] >= inner.shape[1]:
        return torch.bmm(outer, inner.transpose(1, 2)).sum(0)
    return torch.bmm(inner, outer.transpose(1, 2)).sum(0).transpose(0, 1)


def _by_taps(grad: Tensor, x: Tensor, shape: Sequence[int], geometry: _Geometry) -> Tensor:
    """One product for each position of the kernel, over batch and pixels.

    With the channels last, what a position sees is copied in long runs.
    """
    stride, (top, left), dilation, _ = geometry
    outer, inner, *kernel = shape
    images = x.permute(0, 2, 3, 1)
    if set(stride) == {1}:
        seen = _shifted(images, kernel, (top, left), dilation, grad.shape[2:])
    else:
        padded = functional.pad(images, (0, 0, left, left, top, top))
        seen = window_slices(padded, kernel, stride, dilation, grad.shape[2:], first_axis=1)
    rows = grad.transpose(0, 1).reshape(outer, -1)
    products = [torch.matmul(rows, tap.reshape(-1, inner)) for tap in seen]
    return torch.stack(products, -1).reshape(tuple(shape))


def _shifted(
    images: Tensor,
    kernel: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    output: Sequence[int],
) -> list[Tensor]:
    """What each position of a kernel of stride 1 sees of ``(B, H, W, C)``, not yet padded.

    Each is padded and cut off in one pass: a tenth less time for the whole weight gradient
    than with slices of what was padded, which take one pass an axis.
    """
    edges = [
        [(p - k * d, k * d + o - size - p) for k in range(taps)]
        for taps, p, d, o, size in zip(
            kernel, padding, dilation, output, images.shape[1:3], strict=True
        )
    ]
    return [
        functional.pad(images, (0, 0, *across, *down)) for down in edges[0] for across in edges[1]
    ]


def _by_windows(grad: Tensor, x: Tensor, shape: Sequence[int], geometry: _Geometry) -> Tensor:
    """One product a sample and group, with all positions of the kernel in a row."""
    stride, (top, left), dilation, groups = geometry
    outer, inner, *kernel = shape
    padded = functional.pad(x, (left, left, top, top))
    seen = window_slices(padded, kernel, stride, dilation, grad.shape[2:])
    batch, pixels = grad.shape[0], math.prod(grad.shape[2:])
    columns = torch.stack([tap.reshape(batch * groups, inner, pixels) for tap in seen], 2)
    columns = columns.reshape(batch * groups, inner * len(seen), pixels)
    rows = grad.reshape(batch * groups, outer // groups, pixels)
    products = torch.bmm(rows, columns.transpose(1, 2))
    return products.reshape(batch, -1).sum(0).reshape(tuple(shape))


def _swapped(grad: Tensor, x: Tensor, shape: Sequence[int], geometry: _Geometry) -> Tensor:
    """As a convolution: batch and channels change places, and so do stride and dilation.

    Not of grouped convolutions.
    """
    stride, padding, dilation, _ = geometry
    # Rows that a stride left over would give needless outputs: cut off, or not padded.
    ends = [
        (o - 1) * s + (k - 1) * d + 1 - h - p
        for o, s, k, d, h, p in zip(
            grad.shape[2:], stride, shape[2:], dilation, x.shape[2:], padding, strict=True
        )
    ]
    images = functional.pad(x, (padding[1], ends[1], padding[0], ends[0])).transpose(0, 1)
    swapped: Tensor = aten.convolution(
        images, grad.transpose(0, 1), None, dilation, [0, 0], stride, False, [0, 0], 1
    )
    return swapped.transpose(0, 1)


def _depthwise_by_rows(
    grad: Tensor, x: Tensor, kernel: Sequence[int], geometry: _Geometry
) -> Tensor:
    """Products of whole rows give each column of the gradient with each column of the input.

    The sums of their diagonals, by a product with a constant, are the gradient; so the input
    is not sliced along its rows, which costs more than the needless products. With the batch
    within the product, and each row of the kernel by itself, nothing is padded and little is
    copied: half to two thirds of the time of a product a sample, or of :func:`_swapped`.
    """
    stride, padding, dilation, _ = geometry
    channels, height, width = grad.shape[1:]
    rows, columns = x.shape[2:]
    places = torch.arange(width) * stride[1] - padding[1]
    seen = places.reshape(-1, 1, 1) + torch.arange(kernel[1]) * dilation[1]
    diagonals = (seen == torch.arange(columns).reshape(1, -1, 1)).reshape(-1, kernel[1])
    grad, x = grad.transpose(0, 1), x.transpose(0, 1)
    sums = []
    for tap in range(kernel[0]):
        offset = tap * dilation[0] - padding[0]
        # The outputs whose row of the input lies inside.
        first = max(0, -(offset // stride[0]))
        last = min(height - 1, (rows - 1 - offset) // stride[0])
        if last < first:
            sums.append(grad.new_zeros(channels, kernel[1]))
            continue
        left = grad[:, :, first : last + 1].reshape(channels, -1, width)
        start, end = first * stride[0] + offset, last * stride[0] + offset + 1
        right = x[:, :, start : end : stride[0]].reshape(channels, -1, columns)
        pairs = torch.bmm(left.transpose(1, 2), right).reshape(channels, -1)
        sums.append(torch.matmul(pairs, diagonals.to(grad.dtype)))
    return torch.stack(sums, 1).unsqueeze(1)

"""Gradients of every kind of convolution, by way of the two-dimensional one's.

A one-dimensional convolution is one of height 1. A transposed convolution is the gradient
of a plain one: its input and the gradient of its output change places.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from slfac.export import conv_gradients
from slfac.wire.errors import ExportError

aten: Any = torch.ops.aten
Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]


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
) -> Gradients:
    """Stands for ``aten.convolution_backward``, whose arguments it has.

    Returns:
        Gradients of the input, weight and bias; None where ``output_mask`` wants none.

    Raises:
        ExportError: The convolution has three dimensions.
    """
    if x.dim() > 4:
        raise ExportError(
            "a three-dimensional convolution cannot be trained through ONNX",
            "choose a cut before it",
        )
    if x.dim() == 3:
        flat = convolution_backward(
            grad.unsqueeze(2), x.unsqueeze(2), weight.unsqueeze(2), bias_sizes,
            [1, *stride], [0, *padding], [1, *dilation], transposed,
            [0, *output_padding], groups, output_mask,
        )  # fmt: skip
        grad_x, grad_weight = (None if g is None else g.squeeze(2) for g in flat[:2])
        return grad_x, grad_weight, flat[2]
    geometry = (stride, padding, dilation)
    if transposed:
        return _transposed_backward(grad, x, weight, geometry, groups, output_mask)
    return conv_gradients.convolution_backward(
        grad, x, weight, bias_sizes, *geometry, False, output_padding, groups, output_mask
    )


def _transposed_backward(  # noqa: PLR0917
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    geometry: tuple[Sequence[int], Sequence[int], Sequence[int]],
    groups: int,
    output_mask: Sequence[bool],
) -> Gradients:
    grad_x = grad_weight = None
    if output_mask[0]:
        whole: Tensor = aten.convolution(grad, weight, None, *geometry, False, [0, 0], groups)
        # A wide output_padding lets the kernel fit once more than the input is long.
        grad_x = whole[:, :, : x.shape[2], : x.shape[3]]
    if output_mask[1]:
        only_weight = [False, True, False]
        _, grad_weight, _ = conv_gradients.convolution_backward(
            x, grad, weight, None, *geometry, False, [0, 0], groups, only_weight
        )
    return grad_x, grad_weight, grad.sum((0, 2, 3)) if output_mask[2] else None

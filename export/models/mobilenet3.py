"""MobileNetV3-Small, with parameters named as in torchvision.

Source: Howard et al., "Searching for MobileNetV3", ICCV 2019, table 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import nn

from slfac.export.models.blocks import block, conv_norm, initialise, pooled, round_channels
from slfac.export.models.limits import (
    check_number,
    check_sizes,
    check_stemmed_image,
    make_bounded,
)


class _Row(NamedTuple):
    """One block of the paper's table."""

    kernel: int
    hidden: int
    outer: int
    excite: bool
    activation: type[nn.Module]
    stride: int


_ROWS = (
    _Row(3, 16, 16, True, nn.ReLU, 2),
    _Row(3, 72, 24, False, nn.ReLU, 2),
    _Row(3, 88, 24, False, nn.ReLU, 1),
    _Row(5, 96, 40, True, nn.Hardswish, 2),
    _Row(5, 240, 40, True, nn.Hardswish, 1),
    _Row(5, 240, 40, True, nn.Hardswish, 1),
    _Row(5, 120, 48, True, nn.Hardswish, 1),
    _Row(5, 144, 48, True, nn.Hardswish, 1),
    _Row(5, 288, 96, True, nn.Hardswish, 2),
    _Row(5, 576, 96, True, nn.Hardswish, 1),
    _Row(5, 576, 96, True, nn.Hardswish, 1),
)
_conv = partial(conv_norm, eps=1e-3, momentum=0.01)


class SqueezeExcitation(nn.Module):
    """Weighs each channel by what all channels' means say.

    Source: Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018, with MobileNetV3's
    hard sigmoid.

    Args:
        channels: Channels of the input.
        squeezed: Channels between the two layers.
    """

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.activation = nn.ReLU()
        self.fc2 = nn.Conv2d(squeezed, channels, 1)
        self.scale_activation = nn.Hardsigmoid()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, C, H, W)`` to the same shape."""
        hidden = self.activation(self.fc1(self.avgpool(x)))
        weighed: torch.Tensor = self.scale_activation(self.fc2(hidden)) * x
        return weighed


def mobilenet_v3_small(
    *,
    num_classes: int,
    input_shape: Sequence[int],
    width: float = 1.0,
    stem_stride: int = 2,
    dropout: float = 0.2,
) -> nn.Sequential:
    """Build MobileNetV3-Small from JSON values.

    The children are ``features avgpool flatten classifier``; ``features`` holds the stem
    ``0``, the blocks ``1`` to ``11`` and the last convolution ``12``.

    Args:
        num_classes: Width of the output.
        input_shape: ``(C, H, W)`` of one sample, H and W above ``16 * stem_stride``, so
            that BatchNorm sees several values even of one sample.
        width: Multiplies the channels, 0.1 to 4.
        stem_stride: Stride of the first convolution, 1 for small images, otherwise 2.
        dropout: Share of the last layer's inputs that are dropped in training.

    Returns:
        The model, in training mode, freshly initialised.

    Raises:
        ExportError: A value is of the wrong type or out of bounds.
    """
    depth, _, _ = check_stemmed_image(input_shape, stem_stride, shrink=16)
    (num_classes,) = check_sizes("num_classes", [num_classes], count=1)
    check_number("width", width, 0.1, 4)
    check_number("dropout", dropout, 0, 0.9)

    def make() -> nn.Sequential:
        inner = round_channels(16 * width)
        features = nn.Sequential(_conv(depth, inner, 3, stem_stride, activation=nn.Hardswish))
        for row in _ROWS:
            hidden, outer = (round_channels(n * width) for n in (row.hidden, row.outer))
            scaled = row._replace(hidden=hidden, outer=outer)
            features.append(_block(inner, scaled))
            inner = outer
        features.append(_conv(inner, 6 * inner, 1, activation=nn.Hardswish))
        last = round_channels(1024 * width)
        classifier = nn.Sequential(
            nn.Linear(6 * inner, last),
            nn.Hardswish(),
            nn.Dropout(dropout),
            nn.Linear(last, num_classes),
        )
        model = pooled(features, classifier)
        initialise(model)
        return model

    return make_bounded(make)


def _block(inner: int, row: _Row) -> nn.Module:
    conv = partial(_conv, activation=row.activation)
    layers = nn.Sequential()
    if row.hidden != inner:
        layers.append(conv(inner, row.hidden, 1))
    layers.append(conv(row.hidden, row.hidden, row.kernel, row.stride, groups=row.hidden))
    if row.excite:
        layers.append(SqueezeExcitation(row.hidden, round_channels(row.hidden // 4)))
    layers.append(_conv(row.hidden, row.outer, 1, activation=None))
    return block({"block": layers}, residual=row.stride == 1 and inner == row.outer)

"""MobileNetV2, with parameters named as in torchvision.

Source: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from slfac.export.models.blocks import block, conv_norm, initialise, pooled, round_channels
from slfac.export.models.limits import (
    check_number,
    check_sizes,
    check_stemmed_image,
    make_bounded,
)

# Expansion, channels, blocks, stride of the first.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def mobilenet_v2(
    *,
    num_classes: int,
    input_shape: Sequence[int],
    width: float = 1.0,
    stem_stride: int = 2,
    dropout: float = 0.2,
) -> nn.Sequential:
    """Build MobileNetV2 from JSON values.

    The children are ``features avgpool flatten classifier``; ``features`` holds the stem
    ``0``, the blocks ``1`` to ``17`` and the last convolution ``18``. Sizes shrink by
    ``16 * stem_stride``, rounded up.

    Args:
        num_classes: Width of the output.
        input_shape: ``(C, H, W)`` of one sample, H and W above ``16 * stem_stride``, so
            that BatchNorm sees several values even of one sample.
        width: Multiplies the channels, 0.1 to 4.
        stem_stride: Stride of the first convolution, 1 for small images, otherwise 2.
        dropout: Share of the classifier's inputs that are dropped in training.

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
        inner = round_channels(32 * width)
        features = nn.Sequential(conv_norm(depth, inner, 3, stem_stride))
        for expansion, channels, repeats, first_stride in _STAGES:
            outer = round_channels(channels * width)
            for index in range(repeats):
                stride = first_stride if index == 0 else 1
                features.append(_block(inner, outer, expansion, stride))
                inner = outer
        last = round_channels(1280 * max(1.0, width))
        features.append(conv_norm(inner, last, 1))
        model = pooled(features, nn.Sequential(nn.Dropout(dropout), nn.Linear(last, num_classes)))
        initialise(model)
        return model

    return make_bounded(make)


def _block(inner: int, outer: int, expansion: int, stride: int) -> nn.Module:
    hidden = inner * expansion
    layers = nn.Sequential(
        conv_norm(hidden, hidden, 3, stride, groups=hidden),
        *conv_norm(hidden, outer, 1, activation=None),
    )
    if expansion != 1:
        layers.insert(0, conv_norm(inner, hidden, 1))
    return block({"conv": layers}, residual=stride == 1 and inner == outer)

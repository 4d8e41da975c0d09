"""EfficientNet-Lite0, with parameters named and ordered as in timm's ``tf_efficientnet_lite0``.

Sources: Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural
Networks", ICML 2019; the Lite variant is that of TensorFlow's reference code: ReLU6, no
squeeze-and-excitation, stem and head not scaled. Padding is TensorFlow's "SAME": the
larger half goes right and below.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from slfac.export.models.blocks import block, initialise
from slfac.export.models.limits import (
    check_number,
    check_sizes,
    check_stemmed_image,
    make_bounded,
)

# Expansion, kernel, channels, blocks, stride of the first.
_STAGES = (
    (1, 3, 16, 1, 1),
    (6, 3, 24, 2, 2),
    (6, 5, 40, 2, 2),
    (6, 3, 80, 3, 2),
    (6, 5, 112, 3, 1),
    (6, 5, 192, 4, 2),
    (6, 3, 320, 1, 1),
)
_STEM = 32
_HEAD = 1280
_EPS = 1e-3

Size = tuple[int, int]


def efficientnet_lite0(
    *,
    num_classes: int,
    input_shape: Sequence[int],
    stem_stride: int = 2,
    dropout: float = 0.2,
) -> nn.Sequential:
    """Build EfficientNet-Lite0 from JSON values.

    The children are ``[pad_stem] conv_stem bn1 act1 blocks conv_head bn2 act2 global_pool
    flatten drop classifier``; ``blocks`` holds seven stages ``0`` to ``6`` of blocks
    ``0`` and on. :func:`slfac.testbed.efficientnet_lite0.fetch_weights` fetches weights
    pretrained on ImageNet.

    Args:
        num_classes: Width of the output; 1000 for the pretrained classifier.
        input_shape: ``(C, H, W)`` of one sample, H and W above ``16 * stem_stride``, so
            that BatchNorm sees several values even of one sample.
        stem_stride: Stride of the first convolution, 1 for small images, otherwise 2.
        dropout: Share of the classifier's inputs that are dropped in training.

    Returns:
        The model, in training mode, freshly initialised.

    Raises:
        ExportError: A value is of the wrong type or out of bounds.
    """
    depth, *sides = check_stemmed_image(input_shape, stem_stride, shrink=16)
    (num_classes,) = check_sizes("num_classes", [num_classes], count=1)
    check_number("dropout", dropout, 0, 0.9)

    def make() -> nn.Sequential:
        size: Size = (sides[0], sides[1])
        children = OrderedDict(
            _same_conv("stem", depth, _STEM, kernel=3, stride=stem_stride, size=size)
        )
        children |= _norm(1, _STEM)
        children["blocks"] = _blocks(_shrink(size, stem_stride))
        children["conv_head"] = nn.Conv2d(_STAGES[-1][2], _HEAD, 1, bias=False)
        children |= _norm(2, _HEAD)
        children["global_pool"] = nn.AdaptiveAvgPool2d(1)
        children["flatten"] = nn.Flatten()
        children["drop"] = nn.Dropout(dropout)
        children["classifier"] = nn.Linear(_HEAD, num_classes)
        model = nn.Sequential(children)
        initialise(model)
        return model

    return make_bounded(make)


def _blocks(size: Size) -> nn.Sequential:
    stages = nn.Sequential()
    inner = _STEM
    for expansion, kernel, outer, repeats, first_stride in _STAGES:
        stage = nn.Sequential()
        for index in range(repeats):
            stride = first_stride if index == 0 else 1
            stage.append(
                _block(inner, outer, expansion=expansion, kernel=kernel, stride=stride, size=size)
            )
            size = _shrink(size, stride)
            inner = outer
        stages.append(stage)
    return stages


def _block(
    inner: int, outer: int, *, expansion: int, kernel: int, stride: int, size: Size
) -> nn.Module:
    hidden = inner * expansion
    children: OrderedDict[str, nn.Module] = OrderedDict()
    if expansion != 1:
        children["conv_pw"] = nn.Conv2d(inner, hidden, 1, bias=False)
        children |= _norm(1, hidden)
    number = 1 if expansion == 1 else 2
    children |= _same_conv(
        "dw", hidden, hidden, kernel=kernel, stride=stride, size=size, groups=hidden
    )
    children |= _norm(number, hidden)
    children["conv_pw" if expansion == 1 else "conv_pwl"] = nn.Conv2d(hidden, outer, 1, bias=False)
    children[f"bn{number + 1}"] = nn.BatchNorm2d(outer, _EPS)
    return block(children, residual=stride == 1 and inner == outer)


def _norm(number: int, channels: int) -> dict[str, nn.Module]:
    return {f"bn{number}": nn.BatchNorm2d(channels, _EPS), f"act{number}": nn.ReLU6()}


def _same_conv(
    name: str, inner: int, outer: int, *, kernel: int, stride: int, size: Size, groups: int = 1
) -> dict[str, nn.Module]:
    """A convolution that pads as TensorFlow does, after a module that pads where it must."""
    needed = [max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in size]
    (top, left), (bottom, right) = ([n // 2 for n in needed], [n - n // 2 for n in needed])
    even = (top, left) == (bottom, right)
    padding = (top, left) if even else (0, 0)
    conv = nn.Conv2d(inner, outer, kernel, stride, padding, groups=groups, bias=False)
    if even:
        return {f"conv_{name}": conv}
    return {f"pad_{name}": nn.ZeroPad2d((left, right, top, bottom)), f"conv_{name}": conv}


def _shrink(size: Size, stride: int) -> Size:
    return -(-size[0] // stride), -(-size[1] // stride)

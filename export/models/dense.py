"""DenseNet, with parameters named as in torchvision.

Source: Huang et al., "Densely Connected Convolutional Networks", CVPR 2017 (DenseNet-BC).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import nn

from slfac.export.models.blocks import pooled
from slfac.export.models.limits import (
    check_choice,
    check_image,
    check_list,
    check_number,
    check_sizes,
    make_bounded,
)
from slfac.export.models.residual import STEMS

_BOTTLENECK = 4
_MAX_STAGES = 6
_MAX_LAYERS = 64


class DenseLayer(nn.Module):
    """A bottleneck and a 3x3 convolution whose output joins the input's channels.

    Args:
        inner: Channels of the input.
        growth: Channels that are added.
    """

    def __init__(self, inner: int, growth: int) -> None:
        super().__init__()
        hidden = _BOTTLENECK * growth
        self.norm1 = nn.BatchNorm2d(inner)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(inner, hidden, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(hidden)
        self.relu2 = nn.ReLU()
        self.conv2 = nn.Conv2d(hidden, growth, 3, padding=1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, inner, H, W)`` to ``(B, inner + growth, H, W)``."""
        hidden = self.conv1(self.relu1(self.norm1(x)))
        return torch.cat([x, self.conv2(self.relu2(self.norm2(hidden)))], 1)


def densenet(
    *,
    num_classes: int,
    input_shape: Sequence[int],
    layers: Sequence[int] = (6, 12, 24, 16),
    growth: int = 32,
    stem_channels: int = 64,
    stem: str = "imagenet",
) -> nn.Sequential:
    """Build DenseNet from JSON values; the defaults are DenseNet-121's.

    The children are ``features avgpool flatten classifier``; ``features`` holds ``conv0
    norm0 relu0 [pool0] denseblock1 transition1 denseblock2 ... norm5 relu5``, a block
    ``denselayer1`` and on.

    Args:
        num_classes: Width of the output.
        input_shape: ``(C, H, W)`` of one sample, so large that 2x2 values are left at the
            end: at least 61x61 with the defaults, 16x16 with ``stem="cifar"``.
        layers: Layers of each block, one to six blocks of 1 to 64 layers.
        growth: Channels that a layer adds.
        stem_channels: Channels of the first convolution.
        stem: ``imagenet`` (7x7, stride 2, then max pooling) or ``cifar`` (3x3, stride 1).

    Returns:
        The model, in training mode, with He-initialised convolutions.

    Raises:
        ExportError: A value is of the wrong type or out of bounds.
    """
    blocks = check_list("layers", layers, most=_MAX_STAGES)
    check_number("layers", max(blocks), 1, _MAX_LAYERS)
    (growth,) = check_sizes("growth", [growth], count=1)
    (channels,) = check_sizes("stem_channels", [stem_channels], count=1)
    (num_classes,) = check_sizes("num_classes", [num_classes], count=1)
    check_choice("stem", stem, STEMS)
    # Halvings between blocks round down, the stem's two round up.
    smallest = 1 << len(blocks)
    depth, _, _ = check_image(input_shape, smallest if stem == "cifar" else 4 * smallest - 3)

    def make() -> nn.Sequential:
        features = nn.Sequential(_stem(depth, channels, stem))
        inner = channels
        for index, count in enumerate(blocks, start=1):
            names = {
                f"denselayer{n + 1}": DenseLayer(inner + n * growth, growth) for n in range(count)
            }
            features.add_module(f"denseblock{index}", nn.Sequential(OrderedDict(names)))
            inner += count * growth
            if index < len(blocks):
                features.add_module(f"transition{index}", _transition(inner))
                inner //= 2
        # Named 5 whatever the number of blocks, as torchvision does.
        features.add_module("norm5", nn.BatchNorm2d(inner))
        features.add_module("relu5", nn.ReLU())
        classifier = nn.Linear(inner, num_classes)
        nn.init.zeros_(classifier.bias)
        model = pooled(features, classifier)
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
        return model

    return make_bounded(make)


def _stem(inner: int, outer: int, stem: str) -> OrderedDict[str, nn.Module]:
    children: OrderedDict[str, nn.Module] = OrderedDict()
    if stem == "cifar":
        children["conv0"] = nn.Conv2d(inner, outer, 3, padding=1, bias=False)
    else:
        children["conv0"] = nn.Conv2d(inner, outer, 7, 2, padding=3, bias=False)
    children["norm0"] = nn.BatchNorm2d(outer)
    children["relu0"] = nn.ReLU()
    if stem == "imagenet":
        children["pool0"] = nn.MaxPool2d(3, 2, padding=1)
    return children


def _transition(inner: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            norm=nn.BatchNorm2d(inner),
            relu=nn.ReLU(),
            conv=nn.Conv2d(inner, inner // 2, 1, bias=False),
            pool=nn.AvgPool2d(2),
        )
    )

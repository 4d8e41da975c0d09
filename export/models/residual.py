"""ResNet-18, with parameters named as in torchvision.

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, with the
3x3 stem that is common for small images as the other choice.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import nn

from slfac.export.models.limits import check_image, check_sizes
from slfac.wire.errors import ExportError

STEMS = ("cifar", "imagenet")
_WIDTHS = (64, 64, 128, 256, 512)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with BatchNorm, added to their input.

    Args:
        inner: Channels of the input.
        outer: Channels of the output.
        stride: Stride of the first convolution.
    """

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inner, outer, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outer)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(outer, outer, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outer)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or inner != outer:
            self.downsample = nn.Sequential(
                nn.Conv2d(inner, outer, 1, stride, bias=False), nn.BatchNorm2d(outer)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, inner, H, W)`` to ``(B, outer, H / stride, W / stride)``."""
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        total: torch.Tensor = self.relu(self.bn2(self.conv2(y)) + shortcut)
        return total


def resnet18(*, num_classes: int, input_shape: Sequence[int], stem: str = "cifar") -> nn.Sequential:
    """Build ResNet-18 from JSON values.

    The children are ``conv1 bn1 relu [maxpool] layer1 layer2 layer3 layer4 avgpool
    flatten fc``; each layer holds the blocks ``0`` and ``1``.

    Args:
        num_classes: Width of the output.
        input_shape: ``(C, H, W)`` of one sample, H and W at least 8.
        stem: ``cifar`` (3x3, stride 1) or ``imagenet`` (7x7, stride 2, then max pooling).

    Returns:
        The model, in training mode, with He-initialised convolutions.

    Raises:
        ExportError: A value is of the wrong type or out of bounds.
    """
    channels, _, _ = check_image(input_shape, smallest=8)
    (num_classes,) = check_sizes("num_classes", [num_classes], count=1)
    if stem not in STEMS:
        raise ExportError(f"argument stem is {stem!r}", f"give one of {', '.join(STEMS)}")
    children: OrderedDict[str, nn.Module] = OrderedDict()
    if stem == "cifar":
        children["conv1"] = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
    else:
        children["conv1"] = nn.Conv2d(channels, 64, 7, 2, padding=3, bias=False)
    children["bn1"] = nn.BatchNorm2d(64)
    children["relu"] = nn.ReLU()
    if stem == "imagenet":
        children["maxpool"] = nn.MaxPool2d(3, 2, padding=1)
    for index, (inner, outer) in enumerate(itertools.pairwise(_WIDTHS), start=1):
        children[f"layer{index}"] = nn.Sequential(
            BasicBlock(inner, outer, 1 if index == 1 else 2), BasicBlock(outer, outer, 1)
        )
    children["avgpool"] = nn.AdaptiveAvgPool2d(1)
    children["flatten"] = nn.Flatten()
    children["fc"] = nn.Linear(_WIDTHS[-1], num_classes)
    model = nn.Sequential(children)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return model

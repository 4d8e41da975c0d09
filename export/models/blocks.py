"""What several models are built of."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import nn


class Residual(nn.Module):
    """Children that run one after the other, their result added to the input.

    Args:
        children: The modules by name.
    """

    def __init__(self, children: Mapping[str, nn.Module]) -> None:
        super().__init__()
        for name, child in children.items():
            self.add_module(name, child)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, C, H, W)`` to the same shape."""
        y = x
        for child in self.children():
            y = child(y)
        return x + y


def block(children: Mapping[str, nn.Module], *, residual: bool) -> nn.Module:
    """Children in a row, with or without their input added.

    Args:
        children: The modules by name.
        residual: Whether the input is added to the result.

    Returns:
        The block, which names its parameters alike in both cases.
    """
    return Residual(children) if residual else nn.Sequential(OrderedDict(children))


def conv_norm(
    inner: int,
    outer: int,
    kernel: int,
    stride: int = 1,
    *,
    groups: int = 1,
    activation: type[nn.Module] | None = nn.ReLU6,
    eps: float = 1e-5,
    momentum: float = 0.1,
) -> nn.Sequential:
    """A convolution without bias, BatchNorm and an activation: the children 0, 1 and 2.

    Args:
        inner: Channels of the input.
        outer: Channels of the output.
        kernel: Height and width of the kernel, odd.
        stride: Stride, both ways.
        groups: Groups of channels; ``inner`` of them make a depthwise convolution.
        activation: The activation's class; None leaves it out.
        eps: BatchNorm's.
        momentum: BatchNorm's.

    Returns:
        The three, or two, in a row; sizes are divided by the stride and rounded up.
    """
    layers = nn.Sequential(
        nn.Conv2d(inner, outer, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outer, eps, momentum),
    )
    if activation is not None:
        layers.append(activation())
    return layers


def pooled(features: nn.Module, classifier: nn.Module) -> nn.Sequential:
    """Features, global average pooling and a classifier of vectors.

    Args:
        features: ``(B, C, h, w)`` out.
        classifier: ``(B, C)`` in.

    Returns:
        The model, its children ``features avgpool flatten classifier``.
    """
    return nn.Sequential(
        OrderedDict(
            features=features,
            avgpool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            classifier=classifier,
        )
    )


def round_channels(channels: float) -> int:
    """The multiple of 8 nearest to a scaled number of channels, not below 0.9 of it.

    Source: the MobileNet papers' reference code.

    Args:
        channels: Channels times a width multiplier.

    Returns:
        Channels, at least 8.
    """
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest


def initialise(model: nn.Module) -> None:
    """Set a ReLU network's first weights: He's for convolutions, N(0, 0.01) for linear layers.

    Args:
        model: Changed in place; all biases become zero.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)

"""A small convolutional network for small images: two convolutions, two linear layers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from slfac.export.models.limits import check_flag, check_image, check_sizes


def cnn(
    *,
    num_classes: int,
    input_shape: Sequence[int],
    channels: Sequence[int] = (16, 32),
    hidden: int = 128,
    batch_norm: bool = False,
) -> nn.Sequential:
    """Build the small CNN from JSON values.

    The children are ``conv1 [bn1] relu1 pool1 conv2 [bn2] relu2 pool2 flatten fc1 relu3
    fc2``. On ``(B, 1, 28, 28)`` the output of ``pool1`` is ``(B, 16, 14, 14) float32``.

    Args:
        num_classes: Width of the output.
        input_shape: ``(C, H, W)`` of one sample, H and W at least 4.
        channels: Channels of the two convolutions.
        hidden: Width of the hidden linear layer.
        batch_norm: Whether BatchNorm follows each convolution (which then has no bias).

    Returns:
        The model, in training mode, with torch's default initial weights.

    Raises:
        ExportError: A value is of the wrong type or out of bounds.
    """
    depth, height, width = check_image(input_shape, smallest=4)
    first, second = check_sizes("channels", channels, count=2)
    (hidden,) = check_sizes("hidden", [hidden], count=1)
    (num_classes,) = check_sizes("num_classes", [num_classes], count=1)
    check_flag("batch_norm", batch_norm)
    children: OrderedDict[str, nn.Module] = OrderedDict()
    for index, (inner, outer) in enumerate([(depth, first), (first, second)], start=1):
        # A bias before BatchNorm would have a gradient of exactly zero.
        children[f"conv{index}"] = nn.Conv2d(inner, outer, 3, padding=1, bias=not batch_norm)
        if batch_norm:
            children[f"bn{index}"] = nn.BatchNorm2d(outer)
        children[f"relu{index}"] = nn.ReLU()
        children[f"pool{index}"] = nn.MaxPool2d(2)
    children["flatten"] = nn.Flatten()
    children["fc1"] = nn.Linear(second * (height // 4) * (width // 4), hidden)
    children["relu3"] = nn.ReLU()
    children["fc2"] = nn.Linear(hidden, num_classes)
    return nn.Sequential(children)

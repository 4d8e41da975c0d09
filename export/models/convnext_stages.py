"""ConvNeXt, with parameters named as in torchvision.

Source: Liu et al., "A ConvNet for the 2020s", CVPR 2022, without stochastic depth.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import nn

from slfac.export.models.limits import (
    check_image,
    check_list,
    check_number,
    check_sizes,
    make_bounded,
)
from slfac.wire.errors import ExportError

_EPS = 1e-6
_MAX_STAGES = 6
_MAX_BLOCKS = 64


class Permute(nn.Module):
    """Reorders axes.

    Args:
        order: The axes' numbers in their new order.
    """

    def __init__(self, *order: int) -> None:
        super().__init__()
        self.order = order

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x`` with its axes reordered."""
        return x.permute(self.order)


class LayerNorm2d(nn.LayerNorm):
    """LayerNorm over the channels of each pixel."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, C, H, W)`` to the same shape."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ScaledBlock(nn.Module):
    """A depthwise 7x7 convolution and two linear layers, scaled and added to their input.

    Args:
        channels: Channels of input and output.
        layer_scale: First value of every channel's learned scale.
    """

    def __init__(self, channels: int, layer_scale: float) -> None:
        super().__init__()
        self.layer_scale = nn.Parameter(torch.full((channels, 1, 1), layer_scale))
        self.block = nn.Sequential(
            nn.Conv2d(channels, channels, 7, padding=3, groups=channels),
            Permute(0, 2, 3, 1),
            nn.LayerNorm(channels, _EPS),
            nn.Linear(channels, 4 * channels),
            nn.GELU(),
            nn.Linear(4 * channels, channels),
            Permute(0, 3, 1, 2),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, C, H, W)`` to the same shape."""
        result: torch.Tensor = self.layer_scale * self.block(x) + x
        return result


def convnext(
    *,
    num_classes: int,
    input_shape: Sequence[int],
    depths: Sequence[int] = (3, 3, 9, 3),
    dims: Sequence[int] = (96, 192, 384, 768),
    patch: int = 4,
    layer_scale: float = 1e-6,
) -> nn.Sequential:
    """Build ConvNeXt from JSON values; the defaults are ConvNeXt-T's.

    The children are ``features avgpool classifier``; ``features`` holds the stem
    ``0``, the stages ``1``, ``3``, ... and the halvings between them.

    Args:
        num_classes: Width of the output.
        input_shape: ``(C, H, W)`` of one sample, H and W at least ``patch`` doubled for
            each stage after the first.
        depths: Blocks of each stage, one to six stages of 1 to 64 blocks.
        dims: Channels of each stage.
        patch: Size and stride of the first convolution; 1 or 2 suit small images.
        layer_scale: First value of each channel's learned scale, 0 to 1.

    Returns:
        The model, in training mode, freshly initialised.

    Raises:
        ExportError: A value is of the wrong type or out of bounds.
    """
    stages = check_list("depths", depths, most=_MAX_STAGES)
    widths = check_list("dims", dims, most=_MAX_STAGES)
    if len(stages) != len(widths):
        raise ExportError(f"argument dims is {list(widths)}", f"give {len(stages)} as in depths")
    check_number("depths", max(stages), 1, _MAX_BLOCKS)
    (patch,) = check_sizes("patch", [patch], count=1)
    channels, _, _ = check_image(input_shape, smallest=patch << (len(stages) - 1))
    (num_classes,) = check_sizes("num_classes", [num_classes], count=1)
    layer_scale = check_number("layer_scale", layer_scale, 0, 1)

    def make() -> nn.Sequential:
        stem = nn.Sequential(
            nn.Conv2d(channels, widths[0], patch, patch), LayerNorm2d(widths[0], _EPS)
        )
        features = nn.Sequential(stem)
        for depth, width, following in itertools.zip_longest(stages, widths, widths[1:]):
            features.append(nn.Sequential(*(ScaledBlock(width, layer_scale) for _ in range(depth))))
            if following is not None:
                halving = nn.Conv2d(width, following, 2, 2)
                features.append(nn.Sequential(LayerNorm2d(width, _EPS), halving))
        last = widths[-1]
        classifier = nn.Sequential(
            LayerNorm2d(last, _EPS), nn.Flatten(), nn.Linear(last, num_classes)
        )
        model = nn.Sequential(
            OrderedDict(features=features, avgpool=nn.AdaptiveAvgPool2d(1), classifier=classifier)
        )
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        return model

    return make_bounded(make)

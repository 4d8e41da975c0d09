"""A convolutional network over time, for windows of sensor values.

Source: Wang, Yan and Oates, "Time Series Classification from Scratch with Deep Neural
Networks: A Strong Baseline", IJCNN 2017 (their FCN), with one kernel size and with
pooling between the convolutions.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from slfac.export.models.limits import (
    check_flag,
    check_list,
    check_number,
    check_series,
    check_sizes,
    make_bounded,
)
from slfac.wire.errors import ExportError

_MAX_CONVOLUTIONS = 8
_MAX_KERNEL = 63


def cnn1d(
    *,
    num_classes: int,
    input_shape: Sequence[int],
    channels: Sequence[int] = (32, 64, 128),
    kernel: int = 5,
    batch_norm: bool = True,
    dropout: float = 0.0,
) -> nn.Sequential:
    """Build the 1-D CNN from JSON values.

    The children are ``conv1 [bn1] relu1 pool1 conv2 [bn2] relu2 pool2 conv3 [bn3] relu3
    avgpool flatten [drop] fc``. On ``(B, 6, 100)`` the output of ``pool1`` is ``(B, 32,
    50) float32``.

    Args:
        num_classes: Width of the output.
        input_shape: ``(C, T)`` of one sample, T at least 2 to the number of convolutions.
        channels: Channels of the convolutions, one to eight of them.
        kernel: Length of every kernel, odd, at most 63.
        batch_norm: Whether BatchNorm follows each convolution (which then has no bias).
        dropout: Share of the last layer's inputs that are dropped in training.

    Returns:
        The model, in training mode, with torch's default initial weights.

    Raises:
        ExportError: A value is of the wrong type or out of bounds.
    """
    outputs = check_list("channels", channels, most=_MAX_CONVOLUTIONS)
    depth, _ = check_series(input_shape, shortest=1 << len(outputs))
    (num_classes,) = check_sizes("num_classes", [num_classes], count=1)
    (kernel,) = check_sizes("kernel", [kernel], count=1)
    if kernel % 2 == 0 or kernel > _MAX_KERNEL:
        raise ExportError(
            f"argument kernel is {kernel}", f"give an odd number from 1 to {_MAX_KERNEL}"
        )
    check_flag("batch_norm", batch_norm)
    check_number("dropout", dropout, 0, 0.9)

    def make() -> nn.Sequential:
        children: OrderedDict[str, nn.Module] = OrderedDict()
        for index, (inner, outer) in enumerate(itertools.pairwise((depth, *outputs)), start=1):
            children[f"conv{index}"] = nn.Conv1d(
                inner, outer, kernel, padding=kernel // 2, bias=not batch_norm
            )
            if batch_norm:
                children[f"bn{index}"] = nn.BatchNorm1d(outer)
            children[f"relu{index}"] = nn.ReLU()
            if index < len(outputs):
                children[f"pool{index}"] = nn.MaxPool1d(2)
        children["avgpool"] = nn.AdaptiveAvgPool1d(1)
        children["flatten"] = nn.Flatten()
        if dropout:
            children["drop"] = nn.Dropout(dropout)
        children["fc"] = nn.Linear(outputs[-1], num_classes)
        return nn.Sequential(children)

    return make_bounded(make)

"""A small network whose front drops values while it trains."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn


def dropping_cnn(*, num_classes: int) -> nn.Module:
    """A convolution, dropout of values, dropout of channels, and a classifier.

    Args:
        num_classes: Width of the output.

    Returns:
        The model, for images ``(1, 8, 8)``.
    """
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(1, 4, 3, padding=1),
            drop=nn.Dropout(0.4),
            relu=nn.ReLU(),
            mix=nn.Conv2d(4, 4, 1),
            channels=nn.Dropout2d(0.4),
            flatten=nn.Flatten(),
            fc=nn.Linear(256, num_classes),
        )
    )


def resting_cnn(*, num_classes: int) -> nn.Module:
    """Dropout and BatchNorm before a place to cut, and behind it.

    Args:
        num_classes: Width of the output.

    Returns:
        The model, for images ``(1, 12, 12)``.
    """
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(1, 8, 3, padding=1),
            norm=nn.BatchNorm2d(8),
            relu=nn.ReLU(),
            drop=nn.Dropout(0.2),
            pool=nn.MaxPool2d(2),
            conv2=nn.Conv2d(8, 8, 3, padding=1),
            norm2=nn.BatchNorm2d(8),
            relu2=nn.ReLU(),
            drop2=nn.Dropout(0.2),
            flatten=nn.Flatten(),
            fc=nn.Linear(288, num_classes),
        )
    )


def resting_cnn_in_three(*, num_classes: int) -> nn.Module:
    """Dropout and BatchNorm before, between and behind two places to cut.

    Args:
        num_classes: Width of the output.

    Returns:
        The model, for images ``(1, 12, 12)``: to be cut at ``pool`` and at ``pool2``.
    """
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(1, 8, 3, padding=1),
            norm=nn.BatchNorm2d(8),
            relu=nn.ReLU(),
            drop=nn.Dropout(0.2),
            pool=nn.MaxPool2d(2),
            conv2=nn.Conv2d(8, 8, 3, padding=1),
            norm2=nn.BatchNorm2d(8),
            relu2=nn.ReLU(),
            drop2=nn.Dropout(0.2),
            pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            fc=nn.Linear(72, 16),
            norm3=nn.BatchNorm1d(16),
            relu3=nn.ReLU(),
            drop3=nn.Dropout(0.2),
            out=nn.Linear(16, num_classes),
        )
    )

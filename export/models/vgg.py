"""VGG-11, with parameters named as in torchvision.

Source: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
Recognition", ICLR 2015, configuration A.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from slfac.export.models.blocks import initialise
from slfac.export.models.limits import (
    check_flag,
    check_image,
    check_number,
    check_sizes,
    make_bounded,
)

# Channels of a convolution; 0 halves the sizes.
_CONFIGURATION = (64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0)
_LAST = 512


def vgg11(
    *,
    num_classes: int,
    input_shape: Sequence[int],
    batch_norm: bool = False,
    pool: int = 7,
    hidden: int = 4096,
    dropout: float = 0.5,
) -> nn.Sequential:
    """Build VGG-11 from JSON values.

    The children are ``features avgpool flatten classifier``. For small images ``pool=1``
    and ``hidden=512`` are common: the defaults make 129 million parameters.

    Args:
        num_classes: Width of the output.
        input_shape: ``(C, H, W)`` of one sample, H and W at least 32.
        batch_norm: Whether BatchNorm follows each convolution.
        pool: Height and width of the maps that the classifier sees, 1 to 7.
        hidden: Width of the two hidden linear layers.
        dropout: Share of each hidden layer's outputs that is dropped in training.

    Returns:
        The model, in training mode, freshly initialised.

    Raises:
        ExportError: A value is of the wrong type or out of bounds.
    """
    depth, _, _ = check_image(input_shape, smallest=32)
    (num_classes,) = check_sizes("num_classes", [num_classes], count=1)
    (hidden,) = check_sizes("hidden", [hidden], count=1)
    check_flag("batch_norm", batch_norm)
    (pool,) = check_sizes("pool", [pool], count=1)
    check_number("pool", pool, 1, 7)
    check_number("dropout", dropout, 0, 0.9)

    def make() -> nn.Sequential:
        classifier = nn.Sequential(
            nn.Linear(_LAST * pool * pool, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )
        model = nn.Sequential(
            OrderedDict(
                features=_features(depth, batch_norm),
                avgpool=nn.AdaptiveAvgPool2d(pool),
                flatten=nn.Flatten(),
                classifier=classifier,
            )
        )
        initialise(model)
        return model

    return make_bounded(make)


def _features(inner: int, batch_norm: bool) -> nn.Sequential:
    layers = nn.Sequential()
    for outer in _CONFIGURATION:
        if outer == 0:
            layers.append(nn.MaxPool2d(2))
            continue
        layers.append(nn.Conv2d(inner, outer, 3, padding=1))
        if batch_norm:
            layers.append(nn.BatchNorm2d(outer))
        layers.append(nn.ReLU())
        inner = outer
    return layers

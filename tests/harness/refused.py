"""Models with a layer that cannot be exported."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations


class Do(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Ema(nn.Module):
    """Adds the running mean of what it saw in training."""

    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x):
        self.seen.mul_(0.9).add_(x.detach().mean(), alpha=0.1)
        return x + self.seen


def write_to_a_view(x):
    x = x * 2
    x[:, :2].mul_(3)
    return x


LAYERS = {
    "grid": lambda: Do(
        lambda x: functional.grid_sample(x, x.permute(0, 2, 3, 1)[..., :2], align_corners=False)
    ),
    "fourier": lambda: Do(lambda x: torch.fft.rfft2(x).abs()),
    "product": lambda: Do(lambda x: x.prod(1, keepdim=True)),
    "conv3d": lambda: nn.Sequential(nn.Unflatten(1, (4, 1)), nn.Conv3d(4, 2, (1, 3, 3))),
    "response": lambda: nn.LocalResponseNorm(3),
    "rrelu": nn.RReLU,
    "randn": lambda: Do(lambda x: x + torch.randn_like(x)),
    "spectral": lambda: parametrizations.spectral_norm(nn.Conv2d(4, 4, 3)),
    "momentum": lambda: nn.BatchNorm2d(4, momentum=None),
    "instance": lambda: nn.InstanceNorm2d(4, track_running_stats=True),
    "ema": Ema,
    "median": lambda: Do(lambda x: x.median(-1)[0]),
    "cdist": lambda: Do(lambda x: torch.cdist(x, x)),
    "view": lambda: Do(write_to_a_view),
}


def model(layer):
    """A layer of ``LAYERS`` behind a convolution, and a linear layer behind both."""
    front = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), LAYERS[layer](), nn.Flatten(1, -1))
    return Model(front)


class Model(nn.Module):
    def __init__(self, front):
        super().__init__()
        self.front = front
        with torch.no_grad():
            width = front(torch.ones(2, 3, 8, 8)).shape[1]
        self.head = nn.Linear(width, 3)

    def forward(self, x):
        return self.head(self.front(x))

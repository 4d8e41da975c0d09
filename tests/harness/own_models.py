"""Models as a user brings them: plain modules in a file, with what real ones have."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class Residual(nn.Module):
    """A branch with dropout and BatchNorm around a shortcut, for 1x8x8 and ten classes."""

    def __init__(self, drop: float, norm: bool) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4) if norm else nn.Identity()
        self.drop = nn.Dropout(drop)
        self.branch = nn.Conv2d(4, 6, 3, padding=1)
        self.fc = nn.Linear(10 * 16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        stem = self.drop(torch.relu_(self.norm(self.stem(x))))
        branch = functional.dropout2d(self.branch(stem), 0.2, self.training)
        joined = functional.max_pool2d(torch.cat([stem, branch], 1), 2)
        return self.fc(joined.flatten(1))


def residual(*, drop: float = 0.3, norm: bool = False) -> nn.Module:
    """Make the model."""
    return Residual(drop, norm)

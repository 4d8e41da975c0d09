"""Layers as users write them, which torch has not as modules of its own."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional


class Do(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Residual(nn.Module):
    """What a module gives, added to its input, as ``scale`` of each sample or channel."""

    def __init__(self, *inner: nn.Module) -> None:
        super().__init__()
        self.inner = nn.Sequential(*inner)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


class StochasticDepth(nn.Module):
    """Drops a branch for whole samples, as torchvision's and timm's do."""

    def __init__(self, chance: float) -> None:
        super().__init__()
        self.chance = chance

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        kept = 1 - self.chance
        noise = torch.empty((x.shape[0], 1, 1, 1), dtype=x.dtype).bernoulli_(kept)
        return x * noise.div_(kept)


class SqueezeExcite(nn.Module):
    """Channels weighed by what they hold."""

    def __init__(self, channels: int, gate: nn.Module) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, 4, 1)
        self.fc2 = nn.Conv2d(4, channels, 1)
        self.gate = gate

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(self.fc2(functional.silu(self.fc1(self.pool(x)))))


class SelfAttention(nn.Module):
    """nn.MultiheadAttention of tokens on themselves."""

    def __init__(self, dropout: float = 0.0, need_weights: bool = False) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, dropout=dropout, batch_first=True)
        self.need_weights = need_weights

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x, need_weights=self.need_weights)[0]


class Recurrent(nn.Module):
    """A recurrent layer's outputs of all steps, and its last state."""

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        steps, last = self.layer(x)
        if isinstance(self.layer, nn.LSTM):
            last = last[0] * last[1]
        return steps + last[-1].unsqueeze(1)


class Einsum(nn.Module):
    """Attention spelt with einsum and softmax, and a learned bias."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(8, 24)
        self.bias = nn.Parameter(torch.linspace(-1, 1, 36).reshape(6, 6))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.project(x).reshape(x.shape[0], 6, 2, 12).chunk(3, dim=-1)
        scores = torch.einsum("bqhd,bkhd->bhqk", query, key) / 2 + self.bias
        mixed = torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), value)
        return mixed.reshape(x.shape[0], 6, -1)


class ScaledDotProduct(nn.Module):
    """Attention by torch's own function."""

    def __init__(self, dropout: float = 0.0, causal: bool = False) -> None:
        super().__init__()
        self.project = nn.Linear(8, 24)
        self.dropout = dropout
        self.causal = causal

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.project(x).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(
            query,
            key,
            value,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=self.causal,
        )
        return mixed.transpose(1, 2).flatten(2)


class RootMeanSquare(nn.Module):
    """RMSNorm by hand, and LayerScale."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(0.5, 1.5, size))
        self.scale = nn.Parameter(torch.full((size,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        normal = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight
        return x + self.scale * normal


class BatchNormAct(nn.BatchNorm2d):
    """BatchNorm and ReLU in one module that calls the function, as timm's BatchNormAct2d."""

    def forward(self, x: Tensor) -> Tensor:
        factor = 0.0 if self.momentum is None else self.momentum
        if self.training and self.track_running_stats and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        x = functional.batch_norm(
            x,
            self.running_mean if not self.training or self.track_running_stats else None,
            self.running_var if not self.training or self.track_running_stats else None,
            self.weight,
            self.bias,
            self.training or (self.running_mean is None and self.running_var is None),
            factor,
            self.eps,
        )
        return functional.relu(x, inplace=True)


class Constants(nn.Module):
    """Buffers that no step changes, one of them not in the state."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.1, 0.2, 0.3, 0.4]).reshape(4, 1, 1))
        self.register_buffer("grid", torch.arange(64.0).reshape(8, 8) / 64, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) * self.grid + torch.ones(4, 1, 1)


class Dense(nn.Module):
    """Concatenates what it gives to what it gets, twice."""

    def __init__(self, inner: int, growth: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.BatchNorm2d(inner), nn.ReLU(inplace=True))
        self.conv1 = nn.Conv2d(inner, growth, 1)
        self.conv2 = nn.Conv2d(inner + growth, growth, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([x, self.conv1(self.first(x))], 1)
        return torch.cat([x, self.conv2(x)], dim=1)


class SharedTwice(nn.Module):
    """One convolution used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.conv(x).relu())


class InPlace(nn.Module):
    """Operations that write over their input."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        y += x
        y.mul_(0.5).add_(1.0)
        functional.relu_(y)
        return y

"""Small fronts of every family and layer that exports must train exactly.

Each is ``(shape of a sample, a function that makes the front)``. A layer stands behind one
that is trained, so that its own gradient is needed, and before something that depends on
more than its sum.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

Make = Callable[[], nn.Module]
IMAGE = (3, 8, 8)
ODD = (3, 9, 11)
SERIES = (3, 16)
TOKENS = (6, 8)
VECTOR = (10,)


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


def image(*layers: nn.Module, last: bool = True) -> nn.Module:
    """A convolution to four channels, the layers, and one more convolution where it fits."""
    end = [nn.LazyConv2d(3, 2)] if last else []
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), *layers, *end)


def series(*layers: nn.Module) -> nn.Module:
    """The same in one dimension."""
    return nn.Sequential(nn.Conv1d(3, 4, 3, padding=1), *layers, nn.LazyConv1d(3, 2))


def tokens(*layers: nn.Module) -> nn.Module:
    """The same for tokens."""
    return nn.Sequential(nn.Linear(8, 8), *layers, nn.LazyLinear(5))


def conv(*args: int, **options: object) -> Make:
    """A convolution of four channels."""
    return lambda: image(nn.Conv2d(4, *args, **options))  # type: ignore[arg-type, misc]


def act(layer: Callable[[], nn.Module]) -> Make:
    """An activation after a BatchNorm, which spreads its inputs over both sides of zero."""
    return lambda: image(nn.GroupNorm(2, 4), layer())


def after(layer: Callable[[], nn.Module]) -> Make:
    """Any layer on images."""
    return lambda: image(layer())


def do(function: Callable[[Tensor], Tensor]) -> Make:
    """Any function on images."""
    return lambda: image(Do(function))


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "hardtanh": lambda: nn.Hardtanh(-0.5, 0.7),
    "leaky_relu": lambda: nn.LeakyReLU(0.2),
    "prelu": nn.PReLU,
    "prelu_channels": lambda: nn.PReLU(4),
    "rrelu_fixed": lambda: nn.RReLU(0.2, 0.2).eval(),
    "elu": lambda: nn.ELU(1.3),
    "selu": nn.SELU,
    "celu": lambda: nn.CELU(0.7),
    "softplus": lambda: nn.Softplus(2, 1.5),
    "softsign": nn.Softsign,
    "mish": nn.Mish,
    "silu": nn.SiLU,
    "hardswish": nn.Hardswish,
    "hardsigmoid": nn.Hardsigmoid,
    "sigmoid": nn.Sigmoid,
    "logsigmoid": nn.LogSigmoid,
    "tanh": nn.Tanh,
    "tanhshrink": nn.Tanhshrink,
    "softshrink": lambda: nn.Softshrink(0.3),
    "hardshrink": lambda: nn.Hardshrink(0.3),
    "threshold": lambda: nn.Threshold(0.1, -0.2),
    "gelu": nn.GELU,
    "gelu_tanh": lambda: nn.GELU("tanh"),
    "glu": lambda: nn.GLU(1),
    "softmax": lambda: nn.Softmax(1),
    "log_softmax": lambda: nn.LogSoftmax(1),
}

LAYERS: dict[str, tuple[tuple[int, ...], Make]] = {
    # Convolutions.
    "conv_strided": (ODD, conv(6, 3, stride=2, padding=1)),
    "conv_dilated": (ODD, conv(6, 3, dilation=2, padding=2)),
    "conv_grouped": (IMAGE, conv(6, 3, groups=2, padding=1)),
    "conv_depthwise": (IMAGE, conv(8, 3, groups=4, padding=1, stride=2)),
    "conv_asymmetric": (ODD, conv(6, (3, 1), stride=(1, 2), padding=(0, 1), dilation=(2, 1))),
    "conv_same": (ODD, conv(6, (4, 3), padding="same")),
    "conv_zero_pad": (ODD, after(lambda: nn.Sequential(nn.ZeroPad2d((0, 1, 2, 1)), nn.ReLU()))),
    "conv_reflect": (IMAGE, conv(6, 3, padding=1, padding_mode="reflect")),
    "conv_replicate": (IMAGE, conv(6, 3, padding=(2, 1), padding_mode="replicate")),
    "conv_circular": (IMAGE, conv(6, 3, padding=1, padding_mode="circular")),
    "conv_no_bias": (IMAGE, conv(6, 3, bias=False)),
    "conv_transposed": (IMAGE, lambda: image(nn.ConvTranspose2d(4, 6, 3, 2, 1, 1))),
    "conv_transposed_grouped": (
        IMAGE,
        lambda: image(nn.ConvTranspose2d(4, 4, 2, 2, groups=2, dilation=2)),
    ),
    "conv_shared": (IMAGE, after(SharedTwice)),
    "conv1d": (SERIES, lambda: series(nn.ReLU(), nn.Conv1d(4, 6, 5, 2, 2))),
    "conv1d_many": (SERIES, lambda: series(nn.Conv1d(4, 20, 3), nn.Conv1d(20, 20, 3, 2, 1))),
    "conv1d_depthwise": (SERIES, lambda: series(nn.Conv1d(4, 4, 3, groups=4, dilation=2))),
    "conv1d_grouped": (SERIES, lambda: series(nn.Conv1d(4, 6, 3, groups=2, padding="same"))),
    "conv1d_circular": (SERIES, lambda: series(nn.Conv1d(4, 4, 3, padding=1, padding_mode="circular"))),
    "conv1d_transposed": (SERIES, lambda: series(nn.ConvTranspose1d(4, 4, 4, 2, 1))),
    # Pools.
    "max_pool": (ODD, after(lambda: nn.MaxPool2d(2))),
    "max_pool_padded": (ODD, after(lambda: nn.MaxPool2d(3, 2, 1))),
    "max_pool_ceil": (ODD, after(lambda: nn.MaxPool2d(2, 2, ceil_mode=True))),
    "max_pool_dilated": (ODD, after(lambda: nn.MaxPool2d(2, 1, 1, dilation=2))),
    "avg_pool": (ODD, after(lambda: nn.AvgPool2d(2))),
    "avg_pool_padded": (ODD, after(lambda: nn.AvgPool2d(3, 2, 1))),
    "avg_pool_ceil": (ODD, after(lambda: nn.AvgPool2d(3, 2, 1, ceil_mode=True))),
    "avg_pool_inside": (ODD, after(lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False))),
    "avg_pool_divisor": (ODD, after(lambda: nn.AvgPool2d(2, divisor_override=3))),
    "adaptive_avg_pool": (ODD, after(lambda: nn.AdaptiveAvgPool2d((3, 4)))),
    "adaptive_max_pool": (ODD, after(lambda: nn.AdaptiveMaxPool2d((3, 4)))),
    "global_max_pool": (IMAGE, lambda: image(nn.AdaptiveMaxPool2d(1), last=False)),
    "amax": (IMAGE, lambda: image(Do(lambda x: x.amax((2, 3))), last=False)),
    "lp_pool": (IMAGE, after(lambda: nn.LPPool2d(2, 2))),
    "max_pool1d": (SERIES, lambda: series(nn.MaxPool1d(3, 2, 1))),
    "max_pool1d_ceil": (SERIES, lambda: series(nn.MaxPool1d(3, 2, ceil_mode=True))),
    "avg_pool1d": (SERIES, lambda: series(nn.AvgPool1d(3, 2, 1))),
    "adaptive_avg_pool1d": (SERIES, lambda: series(nn.AdaptiveAvgPool1d(5))),
    "adaptive_max_pool1d": (SERIES, lambda: series(nn.AdaptiveMaxPool1d(5))),
    # Normalisation.
    "batch_norm": (IMAGE, after(lambda: nn.BatchNorm2d(4, momentum=0.3))),
    "batch_norm_plain": (IMAGE, after(lambda: nn.BatchNorm2d(4, affine=False))),
    "batch_norm_untracked": (IMAGE, after(lambda: nn.BatchNorm2d(4, track_running_stats=False))),
    "batch_norm1d": (SERIES, lambda: series(nn.BatchNorm1d(4))),
    "batch_norm_rows": (VECTOR, lambda: nn.Sequential(nn.Linear(10, 6), nn.BatchNorm1d(6))),
    "batch_norm_act": (IMAGE, after(lambda: BatchNormAct(4))),
    "group_norm": (IMAGE, after(lambda: nn.GroupNorm(2, 4))),
    "group_norm_plain": (IMAGE, after(lambda: nn.GroupNorm(2, 4, affine=False))),
    "instance_norm": (IMAGE, after(lambda: nn.InstanceNorm2d(4))),
    "instance_norm_affine": (IMAGE, after(lambda: nn.InstanceNorm2d(4, affine=True))),
    "instance_norm1d": (SERIES, lambda: series(nn.InstanceNorm1d(4, affine=True))),
    "layer_norm": (TOKENS, lambda: tokens(nn.LayerNorm(8))),
    "layer_norm_two_axes": (TOKENS, lambda: tokens(nn.LayerNorm((6, 8)))),
    "layer_norm_plain": (TOKENS, lambda: tokens(nn.LayerNorm(8, elementwise_affine=False))),
    "rms_norm": (TOKENS, lambda: tokens(nn.RMSNorm(8))),
    "rms_norm_by_hand": (TOKENS, lambda: tokens(RootMeanSquare(8))),
    "normalize": (TOKENS, lambda: tokens(Do(lambda x: functional.normalize(x, dim=-1)))),
    "local_response_norm": (IMAGE, after(lambda: nn.LocalResponseNorm(3))),
    "weight_norm": (IMAGE, after(lambda: parametrizations.weight_norm(nn.Conv2d(4, 4, 3)))),
    # Random draws.
    "dropout": (IMAGE, after(lambda: nn.Dropout(0.4))),
    "dropout2d": (IMAGE, after(lambda: nn.Dropout2d(0.4))),
    "dropout1d": (SERIES, lambda: series(nn.Dropout1d(0.4))),
    "alpha_dropout": (IMAGE, after(lambda: nn.AlphaDropout(0.3))),
    "stochastic_depth": (IMAGE, after(lambda: Residual(nn.Conv2d(4, 4, 1), StochasticDepth(0.3)))),
    # Resampling.
    "upsample_nearest": (IMAGE, after(lambda: nn.Upsample(scale_factor=2))),
    "upsample_nearest_size": (IMAGE, after(lambda: nn.Upsample(size=(13, 10)))),
    "upsample_bilinear": (IMAGE, after(lambda: nn.Upsample(scale_factor=2, mode="bilinear"))),
    "upsample_corners": (IMAGE, after(lambda: nn.Upsample((13, 5), mode="bilinear", align_corners=True))),
    "upsample1d": (SERIES, lambda: series(nn.Upsample(scale_factor=2, mode="linear"))),
    "interpolate_function": (IMAGE, do(lambda x: functional.interpolate(x, size=(5, 6)))),
    "pixel_shuffle": (IMAGE, after(lambda: nn.PixelShuffle(2))),
    "pixel_unshuffle": (IMAGE, after(lambda: nn.PixelUnshuffle(2))),
    "channel_shuffle": (IMAGE, after(lambda: nn.ChannelShuffle(2))),
    "unfold": (IMAGE, lambda: image(nn.Unfold(2, stride=2), last=False)),
    # Shapes, arithmetic.
    "linear2": (VECTOR, lambda: nn.Sequential(nn.Linear(10, 6), nn.Tanh(), nn.Linear(6, 4, bias=False))),
    "linear3": (TOKENS, lambda: tokens(nn.Tanh())),
    "linear4": ((2, 3, 8), lambda: tokens(nn.Tanh())),
    "bilinear": (VECTOR, lambda: nn.Sequential(nn.Linear(10, 6), Pair())),
    "embedding_like_matmul": (TOKENS, lambda: tokens(Do(lambda x: x @ x.transpose(1, 2)))),
    "residual": (IMAGE, after(lambda: Residual(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()))),
    "dense": (IMAGE, after(lambda: Dense(4, 3))),
    "split": (IMAGE, do(lambda x: torch.cat(x.split([1, 3], 1)[::-1], 1))),
    "chunk": (IMAGE, do(lambda x: x.chunk(2, 1)[0] * x.chunk(2, dim=1)[1])),
    "slices": (ODD, do(lambda x: x[:, :, ::2, 1:-1])),
    "flips": (IMAGE, do(lambda x: x.flip(3) + x.roll(1, 2))),
    "in_place": (IMAGE, after(InPlace)),
    "constants": (IMAGE, after(Constants)),
    "reshape_batch": (IMAGE, do(lambda x: x.reshape(x.shape[0] * 2, 2, 8, 8).relu().view(x.size(0), 4, 8, 8))),
    "permute": (IMAGE, do(lambda x: x.permute(0, 2, 3, 1).contiguous().transpose(1, 3))),
    "flatten": (IMAGE, lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.LazyLinear(6))),
    "mean_std": (IMAGE, do(lambda x: x.mean((2, 3), keepdim=True) + x.std((2, 3), keepdim=True) * x)),
    "power": (IMAGE, do(lambda x: (x.abs() + 0.1).sqrt() + x.pow(3) - x.exp().log1p())),
    "clamp": (IMAGE, do(lambda x: x.clamp(-0.3, 0.4) + x.clamp(min=0.1))),
    "maximum": (IMAGE, do(lambda x: torch.maximum(x, x.flip(1)) + torch.where(x > 0, x, -x))),
    "cumsum": (SERIES, lambda: series(Do(lambda x: x.cumsum(2)))),
    "pad": (IMAGE, do(lambda x: functional.pad(x, (1, 2, 0, 1), value=0.5))),
    "pad_modes": (IMAGE, after(lambda: nn.Sequential(nn.ReflectionPad2d(2), nn.ReplicationPad2d(1)))),
    "sort_free_topk": (TOKENS, lambda: tokens(Do(lambda x: x.topk(3, -1)[0]))),
    # Attention.
    "attention": (TOKENS, lambda: tokens(ScaledDotProduct())),
    "attention_causal": (TOKENS, lambda: tokens(ScaledDotProduct(causal=True))),
    "attention_dropout": (TOKENS, lambda: tokens(ScaledDotProduct(0.3))),
    "attention_einsum": (TOKENS, lambda: tokens(Einsum())),
    "multihead": (TOKENS, lambda: tokens(SelfAttention())),
    "multihead_weights": (TOKENS, lambda: tokens(SelfAttention(need_weights=True))),
    "multihead_dropout": (TOKENS, lambda: tokens(SelfAttention(0.3))),
    "encoder_layer": (
        TOKENS,
        lambda: tokens(nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True)),
    ),
    "encoder_layer_dropout": (
        TOKENS,
        lambda: tokens(
            nn.TransformerEncoderLayer(8, 2, 16, 0.2, "gelu", batch_first=True, norm_first=True)
        ),
    ),
    "squeeze_excite": (IMAGE, after(lambda: SqueezeExcite(4, nn.Sigmoid()))),
    "squeeze_excite_hard": (IMAGE, after(lambda: SqueezeExcite(4, nn.Hardsigmoid()))),
}
LAYERS.update({name: (IMAGE, act(layer)) for name, layer in ACTIVATIONS.items()})


class Pair(nn.Module):
    """nn.Bilinear of a vector with itself."""

    def __init__(self) -> None:
        super().__init__()
        self.bilinear = nn.Bilinear(6, 6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.bilinear(x, x)


def layer(name: str) -> nn.Module:
    """A model whose front is one of ``LAYERS``, to be cut at ``front``."""
    shape, make = LAYERS[name]
    front = make()
    with torch.no_grad():
        width = front(torch.randn(2, *shape)).flatten(1).shape[1]
    # The run above has moved running statistics; the weights are as they were drawn.
    layers = {"front": front, "flatten": nn.Flatten(), "head": nn.Linear(width, 3)}
    return nn.Sequential(OrderedDict(layers))


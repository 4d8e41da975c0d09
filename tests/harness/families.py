"""Small fronts of every family and layer that exports must train exactly.

Each is ``(shape of a sample, a function that makes the front)``. A layer stands behind one
that is trained, so that its own gradient is needed, and before one that weighs what it gives.
These are pointwise: the gradients of wider kernels, which the family of convolutions has,
take a dozen times as many operations, and tracing takes its time by operations.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from harness.layers import (
    BatchNormAct,
    Constants,
    Dense,
    Do,
    Einsum,
    InPlace,
    Recurrent,
    Residual,
    RootMeanSquare,
    ScaledDotProduct,
    SelfAttention,
    SharedTwice,
    SqueezeExcite,
    StochasticDepth,
)

Make = Callable[[], nn.Module]
IMAGE = (3, 8, 8)
ODD = (3, 9, 11)
SERIES = (3, 16)
TOKENS = (6, 8)
STEPS = (2, 8)
VECTOR = (10,)


def image(*layers: nn.Module, last: bool = True) -> nn.Module:
    """A convolution to four channels, the layers, and one more convolution where it fits."""
    end = [nn.LazyConv2d(3, 1)] if last else []
    return nn.Sequential(nn.Conv2d(3, 4, 1), *layers, *end)


def series(*layers: nn.Module) -> nn.Module:
    """The same in one dimension."""
    return nn.Sequential(nn.Conv1d(3, 4, 1), *layers, nn.LazyConv1d(3, 1))


def tokens(*layers: nn.Module) -> nn.Module:
    """The same for tokens."""
    return nn.Sequential(nn.Linear(8, 8), *layers, nn.LazyLinear(5))


def conv(*args: int, **options: object) -> Make:
    """A convolution of four channels."""
    return lambda: image(nn.Conv2d(4, *args, **options))  # type: ignore[arg-type, misc]


def act(layer: Callable[[], nn.Module]) -> Make:
    """An activation of inputs that spread beyond its bends, the 6 of a ReLU6 too."""
    return lambda: image(Do(lambda x: 5 * x), layer())


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


class Pair(nn.Module):
    """nn.Bilinear of a vector with itself."""

    def __init__(self) -> None:
        super().__init__()
        self.bilinear = nn.Bilinear(6, 6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.bilinear(x, x)


# Family -> shape of a sample, and its layers, each in a branch of its own.
LAYERS: dict[str, tuple[tuple[int, ...], dict[str, Make]]] = {
    "convolutions": (
        ODD,
        {
            "conv_strided": conv(6, 3, stride=2, padding=1),
            "conv_dilated": conv(6, 3, dilation=2, padding=2),
            "conv_asymmetric": conv(6, (3, 1), stride=(1, 2), padding=(0, 1), dilation=(2, 1)),
            "conv_same": conv(6, (5, 3), padding="same"),
            "conv_zero_pad": after(lambda: nn.Sequential(nn.ZeroPad2d((0, 1, 2, 1)), nn.ReLU())),
            "conv_grouped": conv(6, 3, groups=2, padding=1),
            "conv_depthwise": conv(8, 3, groups=4, padding=1, stride=2),
            "conv_reflect": conv(6, 3, padding=1, padding_mode="reflect"),
            "conv_replicate": conv(6, 3, padding=(2, 1), padding_mode="replicate"),
            "conv_circular": conv(6, 3, padding=1, padding_mode="circular"),
            "conv_no_bias": conv(6, 3, bias=False),
            "conv_transposed": lambda: image(nn.ConvTranspose2d(4, 6, 3, 2, 1, 1)),
            "conv_transposed_grouped": lambda: image(
                nn.ConvTranspose2d(4, 4, 2, 2, groups=2, dilation=2)
            ),
            "conv_shared": after(SharedTwice),
        },
    ),
    "series": (
        SERIES,
        {
            "conv1d": lambda: series(nn.ReLU(), nn.Conv1d(4, 6, 5, 2, 2)),
            "conv1d_many": lambda: series(nn.Conv1d(4, 20, 3), nn.Conv1d(20, 20, 3, 2, 1)),
            "conv1d_depthwise": lambda: series(nn.Conv1d(4, 4, 3, groups=4, dilation=2)),
            "conv1d_grouped": lambda: series(nn.Conv1d(4, 6, 3, groups=2, padding="same")),
            "conv1d_circular": lambda: series(
                nn.Conv1d(4, 4, 3, padding=1, padding_mode="circular")
            ),
            "conv1d_transposed": lambda: series(nn.ConvTranspose1d(4, 4, 4, 2, 1)),
            "max_pool1d": lambda: series(nn.MaxPool1d(3, 2, 1)),
            "max_pool1d_ceil": lambda: series(nn.MaxPool1d(3, 2, ceil_mode=True)),
            "avg_pool1d": lambda: series(nn.AvgPool1d(3, 2, 1)),
            "adaptive_avg_pool1d": lambda: series(nn.AdaptiveAvgPool1d(5)),
            "adaptive_max_pool1d": lambda: series(nn.AdaptiveMaxPool1d(5)),
            "batch_norm1d": lambda: series(nn.BatchNorm1d(4)),
            "instance_norm1d": lambda: series(nn.InstanceNorm1d(4, affine=True)),
            "dropout1d": lambda: series(nn.Dropout1d(0.4)),
            "upsample1d": lambda: series(nn.Upsample(scale_factor=2, mode="linear")),
            "cumsum": lambda: series(Do(lambda x: x.cumsum(2))),
        },
    ),
    "pools": (
        ODD,
        {
            "max_pool": after(lambda: nn.MaxPool2d(2)),
            "max_pool_padded": after(lambda: nn.MaxPool2d(3, 2, 1)),
            "max_pool_ceil": after(lambda: nn.MaxPool2d(2, 2, ceil_mode=True)),
            "max_pool_dilated": after(lambda: nn.MaxPool2d(2, 1, 1, dilation=2)),
            "avg_pool": after(lambda: nn.AvgPool2d(2)),
            "avg_pool_padded": after(lambda: nn.AvgPool2d(3, 2, 1)),
            "avg_pool_ceil": after(lambda: nn.AvgPool2d(3, 2, 1, ceil_mode=True)),
            "avg_pool_inside": after(lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False)),
            "avg_pool_divisor": after(
                lambda: nn.AvgPool2d(3, 2, 1, ceil_mode=True, divisor_override=5)
            ),
            "adaptive_avg_pool": after(lambda: nn.AdaptiveAvgPool2d((3, 4))),
            "adaptive_max_pool": after(lambda: nn.AdaptiveMaxPool2d((3, 4))),
            "global_max_pool": lambda: image(nn.AdaptiveMaxPool2d(1), last=False),
            "amax": lambda: image(Do(lambda x: x.amax((2, 3))), last=False),
            "lp_pool": after(lambda: nn.LPPool2d(2, 2)),
        },
    ),
    "normalisation": (
        IMAGE,
        {
            "batch_norm": after(lambda: nn.BatchNorm2d(4, momentum=0.3)),
            "batch_norm_plain": after(lambda: nn.BatchNorm2d(4, affine=False)),
            "batch_norm_untracked": after(lambda: nn.BatchNorm2d(4, track_running_stats=False)),
            "batch_norm_act": after(lambda: BatchNormAct(4)),
            "group_norm": after(lambda: nn.GroupNorm(2, 4)),
            "group_norm_plain": after(lambda: nn.GroupNorm(2, 4, affine=False)),
            "instance_norm": after(lambda: nn.InstanceNorm2d(4)),
            "instance_norm_affine": after(lambda: nn.InstanceNorm2d(4, affine=True)),
            "weight_norm": after(lambda: parametrizations.weight_norm(nn.Conv2d(4, 4, 3))),
        },
    ),
    "layer_norm": (
        TOKENS,
        {
            "layer_norm": lambda: tokens(nn.LayerNorm(8)),
            "layer_norm_two_axes": lambda: tokens(nn.LayerNorm((6, 8))),
            "layer_norm_plain": lambda: tokens(nn.LayerNorm(8, elementwise_affine=False)),
            "rms_norm": lambda: tokens(nn.RMSNorm(8)),
            "rms_norm_by_hand": lambda: tokens(RootMeanSquare(8)),
            "normalize": lambda: tokens(Do(lambda x: functional.normalize(x, dim=-1))),
            "linear3": lambda: tokens(nn.Tanh()),
            "embedding_like_matmul": lambda: tokens(Do(lambda x: x @ x.transpose(1, 2))),
        },
    ),
    "attention": (
        TOKENS,
        {
            "attention": lambda: tokens(ScaledDotProduct()),
            "attention_causal": lambda: tokens(ScaledDotProduct(causal=True)),
            "attention_dropout": lambda: tokens(ScaledDotProduct(0.3)),
            "attention_einsum": lambda: tokens(Einsum()),
            "multihead": lambda: tokens(SelfAttention()),
            "multihead_weights": lambda: tokens(SelfAttention(need_weights=True)),
            "multihead_dropout": lambda: tokens(SelfAttention(0.3)),
            "encoder_layer": lambda: tokens(
                nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True)
            ),
            "encoder_layer_dropout": lambda: tokens(
                nn.TransformerEncoderLayer(8, 2, 16, 0.2, "gelu", batch_first=True, norm_first=True)
            ),
        },
    ),
    "recurrent": (
        STEPS,
        {
            "lstm": lambda: tokens(Recurrent(nn.LSTM(8, 6, batch_first=True))),
            "gru": lambda: tokens(Recurrent(nn.GRU(8, 6, batch_first=True))),
            "rnn": lambda: tokens(Recurrent(nn.RNN(8, 6, batch_first=True))),
        },
    ),
    "dropout": (
        IMAGE,
        {
            "dropout": after(lambda: nn.Dropout(0.4)),
            "dropout2d": after(lambda: nn.Dropout2d(0.4)),
            "dropout_alpha": after(lambda: nn.AlphaDropout(0.4)),
            "dropout_alpha_channels": after(lambda: nn.FeatureAlphaDropout(0.4)),
            "stochastic_depth": after(lambda: Residual(nn.Conv2d(4, 4, 1), StochasticDepth(0.3))),
            "squeeze_excite": after(lambda: SqueezeExcite(4, nn.Sigmoid())),
            "squeeze_excite_hard": after(lambda: SqueezeExcite(4, nn.Hardsigmoid())),
        },
    ),
    "resampling": (
        IMAGE,
        {
            "upsample_nearest": after(lambda: nn.Upsample(scale_factor=2)),
            "upsample_nearest_size": after(lambda: nn.Upsample(size=(13, 10))),
            "upsample_bilinear": after(lambda: nn.Upsample(scale_factor=2, mode="bilinear")),
            "upsample_corners": after(
                lambda: nn.Upsample((13, 5), mode="bilinear", align_corners=True)
            ),
            "upsample_bicubic": after(lambda: nn.Upsample(size=(5, 11), mode="bicubic")),
            "upsample_nearest_exact": after(lambda: nn.Upsample((5, 11), mode="nearest-exact")),
            "interpolate_area": do(lambda x: functional.interpolate(x, size=(5, 4), mode="area")),
            "interpolate_function": do(lambda x: functional.interpolate(x, size=(5, 6))),
            "pixel_shuffle": after(lambda: nn.PixelShuffle(2)),
            "pixel_unshuffle": after(lambda: nn.PixelUnshuffle(2)),
            "channel_shuffle": after(lambda: nn.ChannelShuffle(2)),
            "unfold": lambda: image(nn.Unfold(2, stride=2), last=False),
            "fold": after(lambda: nn.Sequential(nn.Unfold(3, stride=2), nn.Fold(8, 3, stride=2))),
            "max_unpool": do(
                lambda x: functional.max_unpool2d(
                    *functional.max_pool2d(x, 2, return_indices=True), 2
                )
            ),
        },
    ),
    "shapes": (
        IMAGE,
        {
            "residual": after(lambda: Residual(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU())),
            "dense": after(lambda: Dense(4, 3)),
            "split": do(lambda x: torch.cat(x.split([1, 3], 1)[::-1], 1)),
            "chunk": do(lambda x: x.chunk(2, 1)[0] * x.chunk(2, dim=1)[1]),
            "flips": do(lambda x: x.flip(3) + x.roll(1, 2)),
            "in_place": after(InPlace),
            "constants": after(Constants),
            "reshape_batch": do(
                lambda x: x.reshape(x.shape[0] * 2, 2, 8, 8).relu().view(x.size(0), 4, 8, 8)
            ),
            "permute": do(lambda x: x.permute(0, 2, 3, 1).contiguous().transpose(1, 3)),
            "flatten": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.LazyLinear(6)),
            "mean_std": do(
                lambda x: x.mean((2, 3), keepdim=True) + x.std((2, 3), keepdim=True) * x
            ),
            "power": do(lambda x: (x.abs() + 0.1).sqrt() + x.pow(3) - x.exp().log1p()),
            "clamp": do(lambda x: x.clamp(-0.3, 0.4) + x.clamp(min=0.1)),
            "maximum": do(lambda x: torch.maximum(x, x.flip(1)) + torch.where(x > 0, x, -x)),
            "pad": do(lambda x: functional.pad(x, (1, 2, 0, 1), value=0.5)),
            "pad_modes": after(
                lambda: nn.Sequential(nn.ReflectionPad2d(2), nn.ReplicationPad2d(1))
            ),
            "slices": do(lambda x: x[:, :, ::2, 1:-1]),
        },
    ),
    "selections": (
        IMAGE,
        {
            "top": do(lambda x: x.topk(3, -1)[0]),
            "sort": do(lambda x: x.sort(-1)[0]),
            "gather": do(lambda x: x.gather(-1, x.argsort(-1)[..., :3])),
            "triangle": do(lambda x: x.tril()),
            "remainder": do(lambda x: torch.fmod(x, 0.7)),
            "cosine": do(
                lambda x: x * functional.cosine_similarity(x[:, :2], x[:, 2:]).unsqueeze(1)
            ),
            "distance": do(lambda x: x * functional.pairwise_distance(x, x.flip(1)).unsqueeze(-1)),
        },
    ),
    "rows": (
        VECTOR,
        {
            "batch_norm_rows": lambda: nn.Sequential(nn.Linear(10, 6), nn.BatchNorm1d(6)),
            "linear2": lambda: nn.Sequential(
                nn.Linear(10, 6), nn.Tanh(), nn.Linear(6, 4, bias=False)
            ),
        },
    ),
    "four_axes": (
        (2, 3, 8),
        {
            "linear4": lambda: tokens(nn.Tanh()),
        },
    ),
    "activations": (IMAGE, {name: act(layer) for name, layer in ACTIVATIONS.items()}),
}


class Branches(nn.Module):
    """Many layers on one input, what they give in one row."""

    def __init__(self, layers: dict[str, nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleDict(layers)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([layer(x).flatten(1) for layer in self.layers.values()], 1)


def layers(family: str, only: Sequence[str] = ()) -> nn.Module:
    """A model whose front is the layers of a family, or some of them; its cut is ``front``."""
    shape, makes = LAYERS[family]
    front = Branches({name: make() for name, make in makes.items() if not only or name in only})
    with torch.no_grad():
        width = front(torch.randn(2, *shape)).shape[1]
    return nn.Sequential(OrderedDict(front=front, head=nn.Linear(width, 3)))

"""A process of its own: our models against torchvision's and timm's, with the same weights.

Prints one line of JSON: for each case, the largest error of each group of numbers, relative
to the largest value of its tensor; a match of every bit is 0.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import safetensors.torch
import torch
from torch import nn

from slfac.export import models

# Kept alive, for with it the operators would go.
LIBRARY = torch.library.Library("torchvision", "DEF")
LIBRARY.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
LIBRARY.define(
    "qnms(Tensor dets, Tensor scores, float iou_threshold, float dets_scale,"
    " int dets_zero_point) -> Tensor"
)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # that torchvision's compiled part is missing
    import timm
    import torchvision
    from timm.models.vision_transformer import VisionTransformer
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt
    from torchvision.models.vgg import VGG, cfgs, make_layers

CLASSES = 7


def vgg(hidden: int, batch_norm: bool) -> nn.Module:
    """torchvision's VGG-11 with narrower linear layers, for 4096 wide ones take gigabytes."""
    with torch.device("meta"):
        model = VGG(make_layers(cfgs["A"], batch_norm), CLASSES)
    for index, (inner, outer) in {0: (25088, hidden), 3: (hidden, hidden)}.items():
        model.classifier[index] = nn.Linear(inner, outer)
    model.classifier[6] = nn.Linear(hidden, CLASSES)
    return model.to_empty(device="cpu")


def convnext() -> nn.Module:
    settings = [CNBlockConfig(8, 12, 1), CNBlockConfig(12, 16, 2), CNBlockConfig(16, None, 1)]
    return ConvNeXt(settings, stochastic_depth_prob=0.0, num_classes=CLASSES)


def vit(**options: object) -> nn.Module:
    sizes = {"img_size": (32, 48), "patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 4}
    return VisionTransformer(**sizes, num_classes=CLASSES, **options)


VIT = {"patch": 8, "dim": 24, "depth": 3, "heads": 4}
CONVNEXT = {"depths": [1, 2, 1], "dims": [8, 12, 16]}
VGG_OPTIONS = {"hidden": 32}
# Ours with its options, the other one, the input's height and width.
CASES: dict[str, tuple[str, dict[str, object], Callable[[], nn.Module], tuple[int, int]]] = {
    "resnet18": (
        "resnet18",
        {"stem": "imagenet"},
        lambda: torchvision.models.resnet18(num_classes=CLASSES),
        (64, 64),
    ),
    "mobilenet_v2": (
        "mobilenet_v2",
        {},
        lambda: torchvision.models.mobilenet_v2(num_classes=CLASSES),
        (64, 64),
    ),
    "mobilenet_v2 of width 0.35": (
        "mobilenet_v2",
        {"width": 0.35},
        lambda: torchvision.models.mobilenet_v2(num_classes=CLASSES, width_mult=0.35),
        (33, 50),
    ),
    "mobilenet_v3_small": (
        "mobilenet_v3_small",
        {},
        lambda: torchvision.models.mobilenet_v3_small(num_classes=CLASSES),
        (64, 64),
    ),
    "mobilenet_v3_small of width 1.5": (
        "mobilenet_v3_small",
        {"width": 1.5},
        lambda: torchvision.models.mobilenet_v3_small(num_classes=CLASSES, width_mult=1.5),
        (50, 33),
    ),
    "vgg11": ("vgg11", VGG_OPTIONS, lambda: vgg(32, False), (40, 64)),
    "vgg11 with BatchNorm": (
        "vgg11",
        {**VGG_OPTIONS, "batch_norm": True},
        lambda: vgg(32, True),
        (32, 32),
    ),
    "densenet": (
        "densenet",
        {},
        lambda: torchvision.models.densenet121(num_classes=CLASSES),
        (64, 64),
    ),
    "convnext": ("convnext", CONVNEXT, convnext, (36, 48)),
    "vit": ("vit", VIT, vit, (32, 48)),
    "vit that pools the mean": (
        "vit",
        {**VIT, "pooling": "mean"},
        lambda: vit(class_token=False, global_pool="avg"),
        (32, 48),
    ),
    "efficientnet_lite0": (
        "efficientnet_lite0",
        {},
        lambda: timm.create_model("tf_efficientnet_lite0", num_classes=CLASSES, drop_rate=0.2),
        (75, 62),
    ),
    "efficientnet_lite0, pretrained": (
        "efficientnet_lite0",
        {"num_classes": 1000},
        lambda: timm.create_model("tf_efficientnet_lite0", drop_rate=0.2),
        (64, 64),
    ),
}


def main(weights: Path) -> None:
    torch.set_num_threads(1)
    pretrained = safetensors.torch.load_file(weights)
    found = {name: errors(name, pretrained if "pretrained" in name else None) for name in CASES}
    sys.stdout.write(json.dumps(found))


def errors(name: str, state: dict[str, torch.Tensor] | None) -> dict[str, float]:
    """One case: the largest error of each group."""
    torch.manual_seed(1)
    factory, options, make, size = CASES[name]
    arguments = {"num_classes": CLASSES, "input_shape": (3, *size), **options}
    ours, theirs = getattr(models, factory)(**arguments), make()
    if state is None:
        distinguish(ours)
        state = ours.state_dict()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for model in (ours, theirs):
        model.load_state_dict(state)
    x = torch.randn(3, 3, *size)
    weigh = torch.randn(3, arguments["num_classes"])
    pair = (ours, theirs)
    found = {"evaluated": largest([[model.eval()(x)] for model in pair])}
    trained = []
    for model in pair:
        model.train()
        torch.manual_seed(2)  # the same dropout
        trained.append([model(x)])
        (trained[-1][0] * weigh).sum().backward()
    found["trained"] = largest(trained)
    found["gradients"] = largest([[p.grad for p in model.parameters()] for model in pair])
    found["statistics"] = largest([[b.double() for b in model.buffers()] for model in pair])
    return found


def distinguish(model: nn.Module) -> None:
    """Make what starts as zeros and ones differ, so that no two tensors can be mistaken."""
    with torch.no_grad():
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            if name.endswith("running_var"):
                value.uniform_(0.5, 2)
            elif value.ndim < 2 or "layer_scale" in name:
                value.add_((0.2 * torch.randn_like(value, dtype=torch.float32)).to(value.dtype))


def largest(pair: list[list[torch.Tensor]]) -> float:
    """Largest difference of two lists, relative to each tensor's largest value.

    A tensor of values below a thousandth of the list's largest is held to that: gradients of
    biases before BatchNorm are rounding errors of zero.
    """
    peaks = [float(value.abs().max()) for value in pair[1]]
    floor = 1e-3 * max(peaks, default=1.0)
    assert floor > 0
    return max(
        (
            float((ours - theirs).abs().max()) / max(peak, floor)
            for ours, theirs, peak in zip(*pair, peaks, strict=True)
        ),
        default=0.0,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))

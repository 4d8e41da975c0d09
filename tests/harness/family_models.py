"""The models of slfac.export.models whose fronts exports must train exactly, small."""

from __future__ import annotations

# Family -> model of slfac.export.models, its arguments, cut and shape of a sample.
MODELS: dict[str, tuple[str, dict[str, object], str, tuple[int, ...]]] = {
    "cnn": ("cnn", {"channels": [4, 6], "batch_norm": True}, "pool2", (1, 12, 10)),
    "cnn1d": ("cnn1d", {"channels": [6, 8], "dropout": 0.2}, "relu2", (3, 24)),
    "resnet18": ("resnet18", {"stem": "imagenet"}, "layer1.0", (3, 20, 20)),
    "vgg11": ("vgg11", {"batch_norm": True, "hidden": 16}, "features.7", (3, 32, 32)),
    "mobilenet_v2": ("mobilenet_v2", {"width": 0.25, "stem_stride": 1}, "features.2", (3, 18, 18)),
    "mobilenet_v3": (
        "mobilenet_v3_small",
        {"width": 0.5, "stem_stride": 1},
        "features.2",
        (3, 18, 18),
    ),
    "efficientnet": ("efficientnet_lite0", {"stem_stride": 1}, "blocks.1.0", (3, 18, 18)),
    "convnext": (
        "convnext",
        {"patch": 2, "depths": [1, 1], "dims": [8, 12], "layer_scale": 0.1},
        "features.2",
        (3, 16, 16),
    ),
    "densenet": (
        "densenet",
        {"stem": "cifar", "layers": [2, 2], "growth": 4, "stem_channels": 8},
        "features.transition1",
        (3, 16, 16),
    ),
    "vit": ("vit", {"patch": 4, "dim": 16, "depth": 2, "heads": 2}, "blocks.0", (3, 16, 16)),
}

"""Every factory: shapes, arguments, batches of any size, and torch.fx."""

import inspect
import json

import pytest
import torch
from torch import nn

from slfac.export import models
from slfac.wire.errors import ExportError

# Small, but with every kind of block; dropout off, so that two runs can be compared.
SMALL = {
    "cnn": ((2, 12, 10), {"channels": [4, 6], "hidden": 8}),
    "cnn1d": ((6, 100), {"channels": [4, 8, 6]}),
    "convnext": ((2, 17, 20), {"depths": [1, 2], "dims": [8, 12], "layer_scale": 0.5}),
    "densenet": ((2, 61, 64), {"layers": [2, 1, 2, 1], "growth": 4, "stem_channels": 6}),
    "efficientnet_lite0": ((2, 33, 46), {"dropout": 0}),
    "mobilenet_v2": ((2, 33, 46), {"width": 0.25, "dropout": 0}),
    "mobilenet_v3_small": ((2, 33, 46), {"width": 0.5, "dropout": 0}),
    "resnet18": ((2, 16, 20), {}),
    "vgg11": ((2, 32, 40), {"hidden": 16, "pool": 1, "batch_norm": True, "dropout": 0}),
    "vit": ((2, 12, 16), {"patch": 4, "dim": 12, "depth": 2, "heads": 3}),
}
# As published for 1000 classes of 3x224x224, by torchvision and timm.
PARAMETERS = {
    "convnext": 28_589_128,
    "densenet": 7_978_856,
    "efficientnet_lite0": 4_652_008,
    "mobilenet_v2": 3_504_872,
    "mobilenet_v3_small": 2_542_856,
    "vgg11": 132_863_336,
    "vit": 5_717_416,
}


def build(name, shape=None, **options):
    given, defaults = SMALL[name]
    arguments = {
        "num_classes": 5,
        "input_shape": given if shape is None else shape,
        **defaults,
        **options,
    }
    return getattr(models, name)(**json.loads(json.dumps(arguments)))


def refused(name, words, shape=None, **options):
    with pytest.raises(ExportError, match=words) as caught:
        build(name, shape, **options)
    assert caught.value.remedy


def test_every_model_is_tested():
    assert SMALL.keys() == set(models.__all__)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("training", [True, False])
def test_any_batch_and_traced_alike(name, training):
    torch.manual_seed(0)
    model = build(name)
    assert model.training
    model.train(training)
    traced = torch.fx.symbolic_trace(model)
    assert traced.state_dict().keys() == model.state_dict().keys()
    for batch in (1, 3):
        x = torch.randn(batch, *SMALL[name][0])
        y = model(x)
        assert y.shape == (batch, 5)
        assert y.isfinite().all()
        assert torch.equal(traced(x), y)


@pytest.mark.parametrize("name", SMALL)
def test_all_parameters_learn(name):
    torch.manual_seed(0)
    model = build(name)
    x = torch.randn(3, *SMALL[name][0])
    (model(x) * torch.randn(3, 5)).sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("name", SMALL)
def test_samples_stand_alone_in_evaluation(name):
    torch.manual_seed(0)
    model = build(name).eval()
    x = torch.randn(3, *SMALL[name][0])
    torch.testing.assert_close(model(x[1:2]), model(x)[1:2])


@pytest.mark.parametrize("name", SMALL)
def test_a_seed_gives_the_same_weights(name):
    states = []
    for _ in range(2):
        torch.manual_seed(7)
        states.append(build(name).state_dict())
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


@pytest.mark.parametrize("name", PARAMETERS)
def test_published_sizes(name):
    with torch.device("meta"):
        model = getattr(models, name)(num_classes=1000, input_shape=(3, 224, 224))
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", SMALL)
def test_every_argument_has_a_name(name):
    kinds = {p.kind for p in inspect.signature(getattr(models, name)).parameters.values()}
    assert kinds == {inspect.Parameter.KEYWORD_ONLY}


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "5", None, 1 << 20])
def test_numbers_of_classes_that_are_refused(name, value):
    refused(name, "num_classes", num_classes=value)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(
    "shape", [[], [3], [3, 0, 32], [3, 32.0, 32], [3, 32, 32, 32], "3x32x32", [1 << 20] * 3]
)
def test_input_shapes_that_are_refused(name, shape):
    refused(name, "input_shape", shape=shape)


@pytest.mark.parametrize(
    ("name", "option", "values"),
    [
        ("cnn1d", "channels", [[], [0], [4] * 9, 4, [1e3]]),
        ("cnn1d", "kernel", [0, 4, 65, 3.0, "3"]),
        ("cnn1d", "batch_norm", [1, None, "yes"]),
        ("cnn1d", "dropout", [-0.1, 1, "0.5", None, True, float("nan")]),
        ("convnext", "depths", [[], [1], [0, 1], [65, 1], [1] * 7, 3]),
        ("convnext", "dims", [[], [8], [8, 0], [8, 1 << 20], [8, 8, 8]]),
        ("convnext", "patch", [0, -1, 4.0, None]),
        ("convnext", "layer_scale", [-1, 2, None, "1e-6", float("inf")]),
        ("densenet", "layers", [[], [0], [65], [1] * 7, 4]),
        ("densenet", "growth", [0, 1 << 20, 4.0]),
        ("densenet", "stem_channels", [0, None]),
        ("densenet", "stem", ["mobile", None, ["cifar"], 1]),
        ("efficientnet_lite0", "stem_stride", [0, 3, 1.0, True, "2"]),
        ("efficientnet_lite0", "dropout", [-1, 1.0]),
        ("mobilenet_v2", "width", [0, -1, 5, "1", None, float("nan")]),
        ("mobilenet_v2", "stem_stride", [4, None]),
        ("mobilenet_v2", "dropout", [2]),
        ("mobilenet_v3_small", "width", [0.01, 4.1]),
        ("mobilenet_v3_small", "stem_stride", [0]),
        ("mobilenet_v3_small", "dropout", [[0.5]]),
        ("vgg11", "pool", [0, 8, 7.0]),
        ("vgg11", "hidden", [0, 1 << 20]),
        ("vgg11", "batch_norm", [0, "false"]),
        ("vgg11", "dropout", [-0.5]),
        ("vit", "patch", [0, 3, 5, 24, 4.0]),
        ("vit", "dim", [0, 13, None]),
        ("vit", "depth", [0, 49]),
        ("vit", "heads", [0, True]),
        ("vit", "pooling", ["max", None, 1]),
    ],
)
def test_options_that_are_refused(name, option, values):
    for value in values:
        refused(name, option, **{option: value})


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("convnext", {"depths": [64, 64], "dims": [4096, 4096]}),
        ("densenet", {"layers": [64] * 4, "growth": 1 << 14}),
        ("vgg11", {"hidden": 1 << 14, "pool": 7}),
        ("vit", {"dim": 3 << 12, "depth": 48}),
        ("cnn1d", {"channels": [1 << 14] * 8, "kernel": 63}),
    ],
)
def test_a_model_too_large_for_memory_is_refused(name, options):
    shape = (1, 512) if name == "cnn1d" else (1, 64, 64)
    refused(name, "parameters", shape=shape, **options)


@pytest.mark.parametrize(
    ("name", "options", "least"),
    [
        ("mobilenet_v2", {}, 33),
        ("mobilenet_v2", {"stem_stride": 1}, 17),
        ("mobilenet_v3_small", {"stem_stride": 1}, 17),
        ("efficientnet_lite0", {}, 33),
        ("efficientnet_lite0", {"stem_stride": 1}, 17),
        ("densenet", {}, 61),
        ("densenet", {"stem": "cifar"}, 16),
        ("vgg11", {}, 32),
        ("convnext", {}, 8),
        ("convnext", {"patch": 1}, 2),
    ],
)
def test_the_smallest_image_trains_from_one_sample(name, options, least):
    model = build(name, (1, least, least), **options)
    y = model(torch.randn(1, 1, least, least))
    y.sum().backward()
    assert y.isfinite().all()
    refused(name, "input_shape", shape=(1, least, least - 1), **options)


def test_the_shortest_series_trains_from_one_sample():
    y = build("cnn1d", (1, 8))(torch.randn(1, 1, 8))
    assert y.isfinite().all()
    refused("cnn1d", "input_shape", shape=(1, 7))


def test_a_vision_transformer_of_the_mean_has_no_token():
    token, mean = (build("vit", pooling=pooling) for pooling in ("token", "mean"))
    assert token.pos_embed.shape == (1, 13, 12)
    assert mean.pos_embed.shape == (1, 12, 12)
    assert "cls_token" not in mean.state_dict()


def test_dropout_is_where_it_was_asked_for():
    for name in ("cnn1d", "efficientnet_lite0", "mobilenet_v2", "mobilenet_v3_small", "vgg11"):
        rates = {m.p for m in build(name, dropout=0.3).modules() if isinstance(m, nn.Dropout)}
        assert rates == {0.3}

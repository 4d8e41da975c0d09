"""Cutting models by their graphs: what a cut is, where it is legal, what its halves are."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from slfac.export.costs import describe_cuts
from slfac.export.cuts import halves, legal_cuts
from slfac.export.graph import trace_model
from slfac.export.models import cnn, resnet18
from slfac.export.split import split
from slfac.wire.errors import ExportError


def cuts_of(model, shape, every=True):
    cuts = legal_cuts(trace_model(model, shape))
    return {cut.name: cut for cut in cuts if every or len(cut.smashed) == 1}


def listed(smashed):
    return smashed if isinstance(smashed, tuple) else (smashed,)


class Joined(nn.Module):
    def __init__(self, front, back):
        super().__init__()
        self.front, self.back = front, back

    def forward(self, x):
        return self.back(*listed(self.front(x)))


def seeded(function, x):
    """What a function gives; BatchNorm's statistics move, and nothing that it gives does."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        return function(x.clone())


@pytest.fixture
def small_cnn():
    return cnn(num_classes=10, input_shape=(1, 28, 28))


def test_the_cuts_of_the_cnn_have_the_documented_costs(small_cnn):
    graph = trace_model(small_cnn, (1, 28, 28))
    cuts = {cut.name: cut for cut in describe_cuts(graph, legal_cuts(graph), (1, 28, 28))}
    assert list(cuts) == [
        "conv1", "relu1", "pool1", "conv2", "relu2", "pool2", "flatten", "fc1", "relu3",
    ]  # fmt: skip
    pool = cuts["pool1"]
    assert pool.smashed_shapes == ((16, 14, 14),)
    assert pool.smashed_bytes == 16 * 14 * 14 * 4
    assert pool.front_parameters == 16 * 9 + 16
    first = 2 * 16 * 9 * 28 * 28
    assert pool.forward_flops == first
    # Nothing asks for the gradient of the input.
    assert pool.backward_flops == first
    second = 2 * 32 * 16 * 9 * 14 * 14
    assert cuts["conv2"].forward_flops == first + second
    assert cuts["conv2"].backward_flops == first + 2 * second
    linear = 2 * (1568 * 128 + 128 * 10)
    assert pool.share == pytest.approx(2 * first / (2 * first + 3 * second + 3 * linear))
    # Input of the convolution, output of the ReLU, indices (int64) of the pooling.
    assert pool.residual_bytes == 28 * 28 * 4 + 16 * 28 * 28 * 4 + 16 * 14 * 14 * 8


def test_resnet_can_be_cut_at_its_blocks_and_inside_them():
    model = resnet18(num_classes=10, input_shape=(3, 32, 32), stem="imagenet")
    one = cuts_of(model, (3, 32, 32), every=False)
    assert {"maxpool", "layer1.0", "layer1", "layer4.0", "flatten"} <= one.keys()
    assert "fc" not in one
    assert not any(".conv" in name or ".bn" in name for name in one)
    inside = cuts_of(model, (3, 32, 32))["layer2.0.bn1"]
    assert inside.shapes == ((64, 8, 8), (128, 4, 4))
    parts = split(model, "layer2.0", (3, 32, 32))
    assert "layer2.0.downsample.0.weight" in parts.front.state_dict()
    assert next(iter(parts.back.state_dict())) == "layer2.1.conv1.weight"


def test_a_cnn_pools_after_the_convolutions_that_are_named():
    model = cnn(num_classes=10, input_shape=(1, 28, 28), channels=(16, 32, 8), pool_after=(2,))
    names = " ".join(name for name, _ in model.named_children())
    assert names == "conv1 relu1 conv2 relu2 pool2 conv3 relu3 flatten fc1 relu4 fc2"
    assert cuts_of(model, (1, 28, 28))["pool2"].shapes == ((32, 14, 14),)
    assert model.fc1.in_features == 8 * 14 * 14


class Branches(nn.Module):
    """Branches, a concatenation, sizes of the batch, work in place and by functions."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding=1)
        self.left = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU(inplace=True))
        self.right = nn.Conv2d(4, 4, 3, padding=1)
        self.gate = nn.Linear(4, 4)
        self.scale = nn.Parameter(torch.ones(8, 1, 1))
        self.register_buffer("shift", torch.full((8, 1, 1), 0.5))
        self.table = torch.arange(8.0).reshape(8, 1, 1)
        self.fc = nn.Linear(8, 3)

    def forward(self, x, extra=None):
        assert extra is None
        x = torch.relu_(self.stem(x))
        b, c, h, w = x.shape
        gate = self.gate(x.mean((2, 3))).sigmoid().view(b, c, 1, 1)
        parts = torch.cat([self.left(x) * gate, self.right(x)], 1)
        parts = parts.mul_(self.scale).add(self.shift) + self.table
        left, right = parts.reshape(b, 2, c, h * w).unbind(1)
        parts = functional.dropout(torch.cat([left, right], 1), 0.5, self.training)
        return self.fc(parts.mean(2))


@pytest.mark.parametrize(
    ("build", "shape", "step"),
    [
        (lambda: cnn(num_classes=5, input_shape=(3, 16, 16), batch_norm=True), (3, 16, 16), 1),
        (lambda: resnet18(num_classes=5, input_shape=(3, 8, 8)), (3, 8, 8), 7),
        (Branches, (2, 6, 5), 1),
    ],
    ids=["cnn", "resnet18", "branches"],
)
def test_front_then_back_is_the_model_at_every_cut_and_names_are_kept(build, shape, step):
    torch.manual_seed(0)
    model = build()
    x = torch.randn(4, *shape)
    graph = trace_model(model, shape)
    for training in (False, True):
        expected = seeded(model.train(training), x)
        # Blocks repeat: a step without a divisor of their length sees all their places.
        for cut in legal_cuts(graph)[::step]:
            front, back = (half.train(training) for half in halves(graph, cut))
            names = {**front.state_dict(), **back.state_dict()}.keys()
            assert names == model.state_dict().keys()
            given = seeded(Joined(front, back), x)
            assert torch.equal(given, expected), cut.name
            smashed = listed(front(x.clone()))
            assert tuple(tuple(tensor.shape[1:]) for tensor in smashed) == cut.shapes


def test_gradients_reach_every_smashed_tensor_even_where_the_back_works_in_place():
    model = Branches()
    for name in ("stem", "relu_", "gate", "cat", "mul_"):
        parts = split(model, name, (2, 6, 5))
        smashed = [torch.randn(3, *shape, requires_grad=True) for shape in parts.shapes]
        parts.back(*smashed).sum().backward()
        assert all(tensor.grad is not None for tensor in smashed), name


def test_each_mode_has_its_graph():
    back = split(Branches(), "cat_1", (2, 6, 5)).back
    smashed = torch.ones(2, 8, 30)
    assert torch.equal(back.eval()(smashed), back(smashed))
    assert not torch.equal(back.train()(smashed), back(smashed))


def test_the_model_is_as_it_was_after_its_cuts_are_listed():
    model = cnn(num_classes=3, input_shape=(1, 8, 8), batch_norm=True).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    graph = trace_model(model, (1, 8, 8))
    describe_cuts(graph, legal_cuts(graph), (1, 8, 8))
    assert not model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


class Chooses(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4, bias=False)
        self.middle = nn.Linear(4, 4)
        self.last = nn.Linear(4, 4, bias=False)
        self.last.weight = self.first.weight

    def forward(self, x):
        return self.last(self.middle(self.first(x)).relu())


class Skips(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        return self.b(self.a(x)) + x


class Windows(nn.Module):
    """Puts windows on the batch axis, as Swin does."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        windows = self.a(x).reshape(-1, 2, 4).relu()
        return self.b(windows).reshape(x.shape[0], -1)


def test_what_fx_cannot_follow_stays_whole():
    model = nn.Sequential(nn.Linear(4, 4), Chooses(), nn.Linear(4, 2))
    cuts = cuts_of(model, (4,))
    assert list(cuts) == ["0", "1"]
    x = torch.randn(3, 4)
    parts = split(model, "1", (4,))
    assert torch.equal(parts.back(parts.front(x)), model(x))


def test_a_model_whose_own_forward_branches_on_tensors_is_refused_by_file_and_line():
    with pytest.raises(ExportError, match=r"Chooses.* at .*test_export_split\.py:\d+: .*control"):
        trace_model(Chooses(), (4,))


def test_of_many_severed_weights_the_first_of_the_graph_is_named():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleDict({name: nn.Linear(4, 4) for name in "fedcba"})

        def forward(self, x):
            for _ in range(2):
                for layer in self.layers.values():
                    x = layer(x)
            return x

    # Sets of nodes are ordered by where these lie in memory: each trace shuffles them anew.
    for _ in range(8):
        with pytest.raises(ExportError, match=r"'layers\.f\.weight' would be in the front and"):
            split(Twice(), "layers.a", (4,))


def test_weights_that_a_cut_would_sever_are_named():
    with pytest.raises(ExportError, match=r"'first\.weight' would be in the front and in the back"):
        split(Tied(), "first", (4,))
    assert not cuts_of(Tied(), (4,))


def test_the_input_does_not_cross():
    with pytest.raises(ExportError, match="the input itself would cross"):
        split(Skips(), "a", (4,))


def test_a_tensor_without_a_batch_axis_does_not_cross():
    with pytest.raises(ExportError, match=r"'relu' is no float32 tensor.*choose one of a"):
        split(Windows(), "relu", (6, 4))
    assert list(cuts_of(Windows(), (6, 4))) == ["a"]


def test_two_inputs_are_refused():
    class Two(nn.Module):
        def forward(self, x, y):
            return x + y

    with pytest.raises(ExportError, match="missing 1 required positional argument"):
        trace_model(Two(), (4,))


def test_an_unknown_cut_names_those_that_are_near(small_cnn):
    with pytest.raises(ExportError, match=r"'pol1'.*pool1"):
        split(small_cnn, "pol1", (1, 28, 28))


@pytest.mark.parametrize("cut", ["fc2", "", "pool1.0", "x", "output", "x" * 1000])
def test_a_place_that_is_no_cut_is_refused(small_cnn, cut):
    with pytest.raises(ExportError, match="choose one of"):
        split(small_cnn, cut, (1, 28, 28))


@pytest.mark.parametrize("shape", [(3, 28, 28), (1, 28), (1 << 24, 1 << 24)])
def test_an_input_that_does_not_fit_is_named(small_cnn, shape):
    with pytest.raises(ExportError, match=r"3x28x28|1x28|values a sample"):
        split(small_cnn, "pool1", shape)

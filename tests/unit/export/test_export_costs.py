"""What a front costs, layer by layer, against what can be counted by hand."""

import pytest
import torch
from torch import nn

from slfac.export import export_bundle
from slfac.export.costs import front_costs
from slfac.export.cuts import find_cut
from slfac.export.freeze import freeze
from slfac.export.graph import trace_model
from slfac.wire.costs import read_costs


class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.deep = nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False)
        self.act = nn.ReLU()
        self.flat = nn.Flatten()
        self.fc = nn.Linear(4 * 64, 5)
        self.end = nn.Linear(5, 3)

    def forward(self, x):
        return self.end(self.fc(self.flat(self.act(self.deep(self.norm(self.conv(x)))))))


def counted(cut="fc", **more):
    graph = trace_model(Mixed(), (2, 8, 8))
    return front_costs(graph, find_cut(graph, cut), (2, 8, 8), **more)


def test_each_layer_has_its_kind_and_its_counts():
    layers = {layer.name: layer for layer in counted().layers}
    kinds = {name: layer.kind for name, layer in layers.items()}
    assert kinds == {
        "conv": "conv", "norm": "norm", "deep": "depthwise", "act": "other", "fc": "matmul",
    }  # fmt: skip
    conv, deep, act, fc = (layers[name] for name in ("conv", "deep", "act", "fc"))
    assert conv.forward_flop == 2 * 2 * 4 * 9 * 64
    # Nothing asks for the gradient of the input.
    assert conv.backward_flop == conv.forward_flop
    assert (deep.forward_flop, deep.backward_flop) == (2 * 4 * 9 * 64, 4 * 4 * 9 * 64)
    assert fc.backward_flop == 2 * fc.forward_flop == 2 * 2 * 256 * 5
    assert conv.forward_bytes == 4 * (2 + 4) * 64
    # A ReLU reads and writes once; backwards it also reads what it saved.
    assert act.forward_bytes == 4 * 2 * 256
    assert act.backward_bytes == 4 * 3 * 256
    assert (conv.weight_bytes, fc.weight_bytes) == (4 * 72, 4 * (256 * 5 + 5))


def test_an_earlier_cut_has_the_layers_before_it():
    assert counted("deep").layers == counted().layers[:3]
    assert counted("deep").residual_bytes < counted().residual_bytes


def test_recomputing_runs_forward_twice_and_holds_the_input():
    plain, again = counted(), counted(recompute=True)
    assert again.residual_bytes == 4 * 2 * 64
    for one, other in zip(plain.layers, again.layers, strict=True):
        assert other.backward_flop == one.backward_flop + one.forward_flop
        assert other.backward_bytes == one.backward_bytes + one.forward_bytes
        assert other.forward_flop == one.forward_flop


def test_what_is_frozen_has_no_gradients():
    graph = trace_model(Mixed(), (2, 8, 8))
    place = find_cut(graph, "fc")
    freeze(graph, place, train_from="deep", statistics=False)
    layers = {layer.name: layer for layer in front_costs(graph, place, (2, 8, 8)).layers}
    assert layers["conv"].backward_flop == layers["conv"].weight_bytes == 0
    assert layers["norm"].backward_bytes == 0
    assert layers["deep"].backward_flop == layers["deep"].forward_flop > 0


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = nn.Linear(6, 6)
        self.end = nn.Linear(6, 2)

    def forward(self, x):
        return self.end(self.one(self.one(x).relu()).relu())


def test_weights_that_layers_share_are_counted_once():
    graph = trace_model(Shared(), (6,))
    costs = front_costs(graph, find_cut(graph, "one@1"), (6,))
    assert costs.weight_bytes == 4 * 42
    assert sum(layer.forward_flop for layer in costs.layers) == 2 * 2 * 36


class Attends(nn.Module):
    def __init__(self):
        super().__init__()
        self.start = nn.Linear(4, 4)
        self.end = nn.Linear(40, 2)

    def forward(self, x):
        q = self.start(x)
        return self.end(torch.nn.functional.scaled_dot_product_attention(q, q, q).flatten(1))


def test_attention_counts_its_products():
    graph = trace_model(Attends(), (2, 5, 4))
    layers = front_costs(graph, find_cut(graph, "scaled_dot_product_attention"), (2, 5, 4)).layers
    assert [layer.kind for layer in layers] == ["matmul", "matmul"]
    assert layers[1].forward_flop == 2 * 2 * 2 * 5 * 5 * 4


@pytest.mark.parametrize("recompute", [False, True])
def test_a_bundle_holds_what_its_front_costs(tmp_path, recompute):
    bundle = export_bundle(
        cut="pool1",
        input_shape=(1, 8, 8),
        num_classes=3,
        kwargs={"hidden": 4},
        recompute=recompute,
        prove=False,
        out=tmp_path / "bundle",
    ).bundle
    costs = read_costs(bundle)
    assert [layer.kind for layer in costs.layers] == ["conv", "other", "other"]
    assert (costs.residual_bytes == 4 * 64) == recompute

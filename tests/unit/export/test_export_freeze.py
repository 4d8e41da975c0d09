"""What freezing leaves as it is, and what it refuses."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from slfac.export.cuts import find_cut, halves
from slfac.export.freeze import freeze
from slfac.export.graph import trace_model
from slfac.wire.errors import ExportError


class Net(nn.Module):
    """BatchNorm as a module and as a function, dropout as both, a block of two layers."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.block = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Tanh(), nn.Conv2d(4, 4, 1))
        self.register_buffer("mean", torch.zeros(4))
        self.register_buffer("var", torch.ones(4))
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        x = self.drop(self.norm(self.stem(x)))
        x = functional.dropout(x, 0.5, self.training)
        x = functional.batch_norm(x, self.mean, self.var, None, None, self.training, 0.1)
        return self.fc(self.block(x).mean((2, 3)))


def frozen(cut="block", **options):
    graph = trace_model(Net(), (2, 6, 6))
    place = find_cut(graph, cut)
    kept = freeze(graph, place, **{"train_from": None, "statistics": False, **options})
    front, _ = halves(graph, place)
    front.keep_evaluating(kept)
    return front.train()


def trained(front):
    return [name for name, parameter in front.named_parameters() if parameter.requires_grad]


def test_nothing_is_frozen_unless_it_is_asked_for():
    front = frozen()
    assert len(trained(front)) == len(list(front.parameters()))
    assert all(module.training for module in front.modules())


def test_training_from_a_module_trains_all_of_it():
    front = frozen(train_from="block")
    assert trained(front) == ["block.0.weight", "block.0.bias", "block.2.weight", "block.2.bias"]
    x = torch.randn(4, 2, 6, 6)
    before = {name: value.clone() for name, value in front.state_dict().items()}
    assert torch.equal(front(x), front(x)), "the frozen part must not drop"
    assert all(torch.equal(before[name], value) for name, value in front.state_dict().items())
    assert torch.equal(front(x), front.eval()(x))


def test_training_from_a_node_inside():
    assert trained(frozen(train_from="block.2")) == ["block.2.weight", "block.2.bias"]


def test_frozen_statistics_neither_move_nor_stop_dropout():
    front = frozen(statistics=True)
    assert len(trained(front)) == len(list(front.parameters()))
    x = torch.randn(4, 2, 6, 6)
    before = {name: value.clone() for name, value in front.named_buffers()}
    assert not torch.equal(front(x), front(x))
    assert all(torch.equal(before[name], value) for name, value in front.named_buffers())


def test_a_copy_stays_frozen():
    import copy

    front = copy.deepcopy(frozen(train_from="block")).train()
    assert not front.norm.training
    assert not front.drop.training


def test_a_place_that_is_not_in_the_front_is_named():
    with pytest.raises(ExportError, match="'fc', to train from, is not in the front"):
        frozen(train_from="fc")


def test_weights_on_both_sides_of_the_place_are_refused():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            return self.c(self.a(self.b(self.a(x))))

    graph = trace_model(Twice(), (4,))
    with pytest.raises(ExportError, match=r"'b' needs and what follows it share 'a\.weight'"):
        freeze(graph, find_cut(graph, "a_1"), train_from="b", statistics=False)

"""Graphs of models that write in place, make constants, or differ between the modes."""

import pytest
import torch
from torch import nn

from slfac.export.graph import trace_model
from slfac.export.split import split
from slfac.wire.errors import ExportError


class Written(nn.Module):
    """Writes over what a convolution gave, without a use of what that returns."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 2, 1)
        self.act = nn.ReLU(inplace=True)
        self.second = nn.Conv2d(2, 2, 1)
        self.head = nn.Linear(2, 2)

    def forward(self, x):
        y = self.first(x)
        y.mul_(2).sub_(1)
        self.act(y)
        y = self.second(y)
        return self.head(y.mean((2, 3)))


class Viewed(Written):
    """Writes over a part of what is read later."""

    def forward(self, x):
        y = self.first(x)
        part = y[:, :1]
        part.add_(1)
        return self.head(self.second(y).mean((2, 3)))


class Stochastic(nn.Module):
    """Multiplies in training only."""

    def forward(self, x):
        return x * torch.rand_like(x) if self.training else x


class Modes(nn.Module):
    """One layer that differs between the modes, and constants made on the way."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 1)
        self.drop = Stochastic()
        self.last = nn.Conv2d(2, 2, 1)
        self.head = nn.Linear(2, 2)

    def forward(self, x):
        y = self.drop(self.conv(x)) + torch.ones(2, 1, 1) - torch.full((2, 1, 1), 0.5)
        return self.head(self.last(y).mean((2, 3)))


@pytest.mark.parametrize("cut", ["second", "act", "first"])
def test_what_is_written_in_place_is_part_of_the_front(cut):
    model = Written()
    halves = split(model, cut, (1, 3, 3))
    assert len(halves.shapes) == 1
    x = torch.randn(4, 1, 3, 3)
    torch.testing.assert_close(halves.back(halves.front(x)), model(x))


def test_writing_into_a_part_is_refused():
    with pytest.raises(ExportError, match="'add_' writes in place into 'getitem', which shares"):
        trace_model(Viewed(), (1, 3, 3))


def test_a_layer_that_differs_between_the_modes_stays_whole():
    model = Modes()
    halves = split(model, "last", (1, 3, 3))
    x = torch.randn(4, 1, 3, 3)
    whole = model.eval()(x)
    halves.front.eval()
    torch.testing.assert_close(halves.back.eval()(halves.front(x)), whole)
    targets = [node.target for node in trace_model(model, (1, 3, 3)).train.nodes]
    assert "drop" in targets
    assert "_tensor_constant2" not in targets

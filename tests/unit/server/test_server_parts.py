"""In how many parts steps come, and what is put together of them."""

import numpy as np
import pytest
import torch
from torch import fx, nn
from torch.nn import functional

from harness.offline import arrive, manifest_with, request, step_parts
from slfac.server import server_settings
from slfac.server.back import Batch, Outcome
from slfac.server.events import Arrived
from slfac.server.exchange import Decoded, Step
from slfac.server.overlap import choose_micro_batches
from slfac.server.parts import Incoming, OpenStep, join_parts, share_out
from slfac.wire.errors import ProtocolError, SettingsError


def step(index, part=0, parts=1, samples=2):
    x = np.full((samples, 4, 4, 4), part, np.float32)
    target = np.full(samples, part, np.uint8)
    header = request("step", part + 1, samples=samples, part=part, parts=parts)
    arrived = Arrived(index, 1, arrive(header, step_parts(x, target)), 10)
    return Step(arrived, (), target, 1, 2, 3, 0.5)


def decoded(part, samples):
    x = torch.full((samples, 2), float(part))
    return Decoded(step(0, part, 3), Batch((x, 2 * x), np.full(samples, part)), 0.0)


def test_micro_batches_are_ready_one_by_one_in_the_order_in_which_devices_came():
    incoming = Incoming(32, joined=False)
    for index, part in [(1, 0), (0, 0), (1, 1)]:
        incoming.put(step(index, part, 2))
    assert incoming.ready() == (1, 0)
    assert incoming.header(1).part == 0
    assert [one.arrived.transfer.header.part for one in incoming.take(1)] == [0]
    assert incoming.header(1).part == 1
    assert 1 in incoming
    incoming.take(1)
    assert 1 not in incoming
    assert incoming.ready() == (0,)
    incoming.drop(0)
    assert len(incoming) == 0


def test_blocks_are_ready_when_all_are_in():
    incoming = Incoming(32, joined=True)
    for part in range(3):
        assert incoming.ready() == ()
        incoming.put(step(0, part, 3))
    assert incoming.ready() == (0,)
    assert [one.arrived.transfer.header.part for one in incoming.take(0)] == [0, 1, 2]
    assert incoming.ready() == ()


@pytest.mark.parametrize("joined", [False, True])
def test_the_samples_of_parts_must_be_those_of_the_step(joined):
    incoming = Incoming(8, joined=joined)

    def expect(*parts, whole):
        for part, samples in enumerate(parts):
            header = request(
                "step", samples=samples, part=part, parts=len(parts), step_samples=whole
            )
            incoming.expect(0, header)

    expect(8, whole=0)
    expect(3, 3, 2, whole=8)
    for parts, whole in [((9,), 0), ((5, 4), 9), ((3, 3), 8), ((3, 6), 8), ((4,), 3), ((3,), 4)]:
        with pytest.raises(ProtocolError, match="samples came in"):
            expect(*parts, whole=whole)
    expect(3, 3, 2, whole=8)


def test_an_open_step_asks_for_the_parts_that_are_left():
    open_step = OpenStep(members={2: 1, 0: 3, 1: 2}, samples=9, share=1.0)
    seen = []
    while wanted := open_step.wanted():
        portion = open_step.portion()
        seen.append((wanted, portion.first, portion.last))
        assert portion.samples == 9
        open_step.part += 1
    assert seen == [((2, 0, 1), True, False), ((0, 1), False, False), ((0,), False, True)]


def test_blocks_are_joined_and_outcomes_shared_out_again():
    parts = [decoded(0, 2), decoded(1, 1), decoded(2, 3)]
    batch = join_parts(parts)
    assert batch.target.tolist() == [0, 0, 1, 2, 2, 2]
    assert batch.smashed[1][:, 0].tolist() == [0, 0, 2, 4, 4, 4]
    assert batch.own_samples == 6
    shares = share_out(Outcome(0.5, batch.smashed, staleness=7), parts)
    assert [(one.loss, one.staleness) for one in shares] == [(0.5, 7)] * 3
    for part, share in zip(parts, shares, strict=True):
        for own, tensor in zip(part.batch.smashed, share.gradients, strict=True):
            assert torch.equal(own, tensor)


class Functional(nn.Module):
    def __init__(self, *, training):
        super().__init__()
        self.flag = training
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("variance", torch.ones(3))

    def forward(self, x):
        return functional.batch_norm(x, self.mean, self.variance, training=self.flag)


NORMED = {
    "module": nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.BatchNorm1d(3))),
    "traced module": fx.symbolic_trace(nn.Sequential(nn.BatchNorm2d(3))),
    "traced function": fx.symbolic_trace(Functional(training=True)),
}
PLAIN = {
    "other norms": nn.Sequential(nn.GroupNorm(1, 3), nn.LayerNorm(3), nn.InstanceNorm2d(3)),
    "a function that takes statistics as they are": fx.symbolic_trace(Functional(training=False)),
}


def choose(back, *, front=False, **changes):
    settings = server_settings(bundle="b", out="o", keys="k", **changes)
    return choose_micro_batches(settings, manifest_with(batch_norm=front), back)


@pytest.mark.parametrize("name", NORMED)
def test_batch_norm_behind_the_cut_rules_parts_out(name):
    assert choose(NORMED[name], micro_batches=0) == 1
    assert choose(NORMED[name]) == 1
    with pytest.raises(SettingsError, match="the back half holds BatchNorm") as caught:
        choose(NORMED[name], micro_batches=2)
    assert "stream_blocks = 2" in caught.value.remedy


@pytest.mark.parametrize("name", PLAIN)
def test_without_batch_norm_four_parts_are_taken_unless_said_otherwise(name):
    assert choose(PLAIN[name]) == 1
    assert choose(PLAIN[name], micro_batches=7) == 7
    assert choose(PLAIN[name], micro_batches=0) == 4
    for changes in ({"mode": "sfl-v2"}, {"step_deadline_s": 1.0}):
        assert choose(PLAIN[name], micro_batches=0, **changes) == 1
    assert choose(PLAIN[name], micro_batches=0, front=True) == 1

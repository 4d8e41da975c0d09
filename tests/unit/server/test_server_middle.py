"""The middle's step in two phases, against torch's autograd over the whole chain."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from harness.offline import kept_head_bundle
from slfac.server.back import LARGEST_VALUE, BackHalf
from slfac.server.middle import Middle
from slfac.wire.errors import TrainingError

RATE = 0.1
SIZES = {0: 3, 2: 5, 5: 2}


@pytest.fixture
def middle():
    return Middle(BackHalf(kept_head_bundle(), f"sgd:lr={RATE}", ("slfac.export.models",)))


def weights(middle):
    return {name: tensor.clone() for name, tensor in middle.back.module.state_dict().items()}


def smashed(sizes=SIZES, **changes):
    found = {}
    for index, size in sizes.items():
        x = np.random.default_rng(index).normal(size=(size, 4, 4, 4)).astype(np.float32)
        found[index] = (torch.from_numpy(x * changes.get(f"d{index}", np.float32(1))),)
    return found


def head_gradient(output, index):
    """A device's own head: the gradient of its mean loss."""
    leaf = output.clone().requires_grad_()
    labels = torch.arange(len(leaf)) % 4
    functional.cross_entropy(leaf[:, :4] * (1 + index), labels).backward()
    return leaf.grad


def expected_step(module, given, present):
    """One graph from smashed data to the mean loss over the present devices' samples."""
    leaves = {index: z.clone().requires_grad_() for index, (z,) in given.items()}
    outputs = torch.split(
        module(torch.cat(list(leaves.values()))), [len(z) for (z,) in given.values()]
    )
    total = sum(len(leaves[index]) for index in present)
    losses = {}
    for index, output in zip(given, outputs, strict=True):
        labels = torch.arange(len(output)) % 4
        losses[index] = functional.cross_entropy(output[:, :4] * (1 + index), labels)
    loss = sum(losses[index] * (len(leaves[index]) / total) for index in present)
    module.zero_grad()
    loss.backward()
    after = {name: p - RATE * p.grad for name, p in module.named_parameters()}
    scaled = {i: leaves[i].grad * (total / len(leaves[i])) for i in present}
    return after, scaled


@pytest.mark.parametrize("present", [(0, 2, 5), (0, 5), (2,)])
def test_a_step_is_that_of_the_mean_over_those_who_sent_gradients(middle, present):
    given = smashed()
    twin = middle.back.copy().module.train()
    after, scaled = expected_step(twin, given, present)
    made = middle.forward(given)
    assert list(made) == [0, 2, 5]
    assert all(not tensor.requires_grad for tensors in made.values() for tensor in tensors)
    gradients = {index: (head_gradient(made[index][0], index),) for index in present}
    crossing = middle.backward(gradients)
    assert crossing.keys() == {*present}
    for index in present:
        torch.testing.assert_close(crossing[index][0], scaled[index], rtol=1e-4, atol=1e-7)
    for name, tensor in after.items():
        torch.testing.assert_close(middle.back.module.state_dict()[name], tensor)


@pytest.mark.parametrize("bad", [np.float32("nan"), np.float32(3 * LARGEST_VALUE)])
def test_who_sends_nonsense_is_as_if_it_had_sent_nothing(middle, bad):
    made = middle.forward(smashed(d2=bad))
    assert list(made) == [0, 5]
    alone = Middle(middle.back.copy()).forward(smashed({0: 3, 5: 2}))
    for index, tensors in alone.items():
        assert torch.equal(made[index][0], tensors[0])


@pytest.mark.parametrize("bad", [float("inf"), 3 * LARGEST_VALUE])
def test_a_gradient_of_nonsense_is_left_out(middle, bad):
    made = middle.forward(smashed())
    gradients = {index: (head_gradient(tensors[0], index),) for index, tensors in made.items()}
    gradients[2] = (gradients[2][0] * bad,)
    other = Middle(middle.back.copy())
    other.forward(smashed())
    expected = other.backward({index: gradients[index] for index in (0, 5)})
    crossing = middle.backward(gradients)
    assert list(crossing) == [0, 5]
    assert all(torch.equal(crossing[index][0], expected[index][0]) for index in (0, 5))
    assert all(torch.equal(a, b) for a, b in zip(*map(values, (middle, other)), strict=True))


def values(middle):
    return list(weights(middle).values())


def test_without_a_sound_gradient_nothing_changes(middle):
    before = weights(middle)
    made = middle.forward(smashed())
    nan = {index: (tensors[0] * float("nan"),) for index, tensors in made.items()}
    assert middle.backward(nan) == {}
    assert middle.backward({}) == {}
    assert middle.forward(smashed({0: 2}, d0=np.float32("inf"))) == {}
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights(middle).items())


def test_a_forward_that_is_dropped_leaves_no_statistics():
    middle = Middle(BackHalf(kept_head_bundle(), "sgd:lr=0.1", ("slfac.export.models",)))
    module = middle.back.module
    module.norm = torch.nn.BatchNorm2d(4)
    convolve = module.forward
    module.forward = lambda z: convolve(module.norm(z))
    before = weights(middle)
    middle.forward(smashed())
    assert int(module.norm.num_batches_tracked) == 1
    middle.drop()
    middle.drop()
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights(middle).items())


def test_weights_that_diverge_end_the_run(middle):
    next(middle.back.module.parameters()).register_hook(lambda gradient: gradient * float("inf"))
    before = weights(middle)
    made = middle.forward(smashed())
    with pytest.raises(TrainingError, match="diverged; lower the learning rate"):
        middle.backward({0: (head_gradient(made[0][0], 0),)})
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights(middle).items())


def test_evaluation_changes_nothing(middle):
    before = weights(middle)
    (given,) = middle.evaluate([smashed({0: 4})[0][0]])
    assert given.shape == (4, 8)
    assert not given.requires_grad
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights(middle).items())
    with pytest.raises(TrainingError, match="the middle failed on a batch of 4"):
        middle.evaluate([torch.zeros(4, 3, 4, 4)])

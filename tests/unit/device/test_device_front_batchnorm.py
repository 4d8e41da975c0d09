"""BatchNorm in the front: statistics and counters change once a step, as torch's do."""

import numpy as np
import pytest
import torch

from harness.halves import torch_halves
from slfac.device.front import Front


def twin(bundle):
    return torch_halves(bundle)[0].train()


def test_steps_follow_torch(bn_bundle):
    ours, theirs = Front(bn_bundle), twin(bn_bundle)
    rng = np.random.default_rng(0)
    for step in range(1, 4):
        x = rng.normal(size=(5 + step, 1, 8, 8)).astype(np.float32)
        (z,) = ours.forward(x)
        gradient = rng.normal(size=z.shape).astype(np.float32)
        gradients = ours.backward([gradient])
        theirs.zero_grad()
        out = theirs(torch.from_numpy(x))
        out.backward(torch.from_numpy(gradient))
        assert np.allclose(z, out.detach().numpy(), atol=1e-5)
        for name, parameter in theirs.named_parameters():
            assert np.allclose(gradients[name], parameter.grad.numpy(), rtol=1e-3, atol=1e-4)
        for name, buffer in theirs.named_buffers():
            assert np.allclose(ours.buffers[name], buffer.numpy(), rtol=1e-5, atol=1e-6)
        assert ours.buffers["bn1.num_batches_tracked"] == step
        assert ours.buffers["bn1.num_batches_tracked"].dtype == np.int64


def test_forward_alone_changes_no_statistics(bn_bundle):
    front = Front(bn_bundle)
    before = {name: value.copy() for name, value in front.buffers.items()}
    x = np.random.default_rng(0).normal(size=(6, 1, 8, 8)).astype(np.float32)
    for _ in range(3):
        (z,) = front.forward(x)
    assert all(np.array_equal(front.buffers[name], before[name]) for name in before)
    front.backward([np.ones_like(z)])
    assert front.buffers["bn1.num_batches_tracked"] == before["bn1.num_batches_tracked"] + 1
    assert not np.array_equal(front.buffers["bn1.running_mean"], before["bn1.running_mean"])


def test_what_a_step_leaves_can_be_loaded_elsewhere(bn_bundle):
    front, other = Front(bn_bundle), Front(bn_bundle)
    (z,) = front.forward(np.ones((4, 1, 8, 8), np.float32))
    front.backward([np.ones_like(z)])
    other.load(front.state())
    assert {k: v.tobytes() for k, v in other.state().items()} == {
        k: v.tobytes() for k, v in front.state().items()
    }


@pytest.mark.parametrize("name", ["bn1.running_var", "bn1.num_batches_tracked"])
def test_buffers_belong_to_the_state(bn_bundle, name):
    assert name in Front(bn_bundle).state()

"""The front's graphs in onnxruntime; expected values from NumPy, so torch is not needed."""

import numpy as np
import pytest

from harness.offline import kept_bundle
from slfac.device.front import Front
from slfac.wire.errors import BundleError, TrainingError

pytestmark = pytest.mark.device


@pytest.fixture
def front():
    return Front(kept_bundle())


def images(count=3, seed=0):
    return np.random.default_rng(seed).normal(size=(count, 1, 8, 8)).astype(np.float32)


def by_hand(state, x):
    """Convolution with padding 1, ReLU, 2x2 max pool."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    conv = np.einsum("bchwij,ocij->bohw", windows, state["conv1.weight"])
    relu = np.maximum(conv + state["conv1.bias"][:, None, None], 0)
    return relu.reshape(*relu.shape[:2], 4, 2, 4, 2).max((3, 5))


@pytest.mark.parametrize("batch", [1, 3, 17])
def test_forward_gives_the_smashed_data_of_each_batch_size(front, batch):
    x = images(batch)
    (z,) = front.forward(x)
    assert z.dtype == np.float32
    assert np.allclose(z, by_hand(front.state(), x), atol=1e-5)


def test_backward_gives_the_gradient_of_each_parameter(front):
    x = images()
    (z,) = front.forward(x)
    # float32 differences need steps that no kink of ReLU or pooling comes between.
    upstream = np.random.default_rng(1).normal(size=z.shape).astype(np.float32)
    gradients = front.backward([upstream])
    state = {name: value.astype(np.float64) for name, value in front.state().items()}
    assert {n: g.shape for n, g in gradients.items()} == {n: v.shape for n, v in state.items()}
    for name, at in (("conv1.bias", (2,)), ("conv1.weight", (1, 0, 2, 0))):
        sides = []
        for sign in (1, -1):
            moved = {**state, name: state[name].copy()}
            moved[name][at] += sign * 1e-6
            sides.append((by_hand(moved, x.astype(np.float64)) * upstream).sum())
        assert gradients[name][at] == pytest.approx((sides[0] - sides[1]) / 2e-6, rel=1e-3)


def test_the_parts_of_a_batch_add_up_to_its_gradient(front):
    x = images(6)
    (z,) = front.forward(x)
    upstream = np.random.default_rng(1).normal(size=z.shape).astype(np.float32)
    whole = front.backward([upstream])
    spans = [slice(0, 1), slice(1, 4), slice(4, 6)]
    for part, span in enumerate(spans):
        (own,) = front.forward(x[span], part=part)
        assert np.allclose(own, z[span], atol=1e-6)
    held = front.held_bytes
    found = {part: front.backward([upstream[spans[part]]], part) for part in (1, 0, 2)}
    for name, gradient in whole.items():
        total = sum(found[part][name] for part in found)
        assert np.allclose(total, gradient, rtol=1e-4, atol=1e-5)
    front.forward(x)
    assert front.held_bytes == pytest.approx(held, rel=0.01), "parts hold what the batch does"
    front.load(front.state())
    assert front.held_bytes == 0


def test_each_part_has_its_own_forward_pass(front):
    front.forward(images(), part=1)
    with pytest.raises(TrainingError, match="without a forward pass"):
        front.backward([np.zeros((3, 4, 4, 4), np.float32)], 0)


def test_a_step_without_its_gradient_leaves_no_trace(front):
    before = {name: value.copy() for name, value in front.state().items()}
    front.forward(images())
    (again,) = front.forward(images())
    assert all(np.array_equal(front.state()[name], before[name]) for name in before)
    assert np.array_equal(again, Front(kept_bundle()).forward(images())[0])


def test_backward_belongs_to_the_last_forward(front):
    front.forward(images(3, seed=1))
    (z,) = front.forward(images(3, seed=2))
    only = Front(kept_bundle())
    only.forward(images(3, seed=2))
    expected = only.backward([np.ones_like(z)])
    for name, gradient in front.backward([np.ones_like(z)]).items():
        assert np.array_equal(gradient, expected[name])


def test_backward_without_forward_is_an_error(front):
    gradient = np.zeros((1, 4, 4, 4), np.float32)
    with pytest.raises(TrainingError, match="without a forward pass"):
        front.backward([gradient])
    front.forward(images(1))
    front.backward([gradient])
    with pytest.raises(TrainingError, match="without a forward pass"):
        front.backward([gradient])


def test_loading_drops_a_forward_under_way(front):
    front.forward(images(1))
    front.load(kept_bundle().front_state())
    with pytest.raises(TrainingError, match="without a forward pass"):
        front.backward([np.zeros((1, 4, 4, 4), np.float32)])


def test_what_is_loaded_is_used_and_copied(front):
    state = {name: value + 1 for name, value in kept_bundle().front_state().items()}
    front.load(state)
    (z,) = front.forward(images())
    assert np.allclose(z, by_hand(state, images()), atol=1e-4)
    state["conv1.bias"][:] = 99
    assert not (front.parameters["conv1.bias"] == 99).any()
    assert all(value.flags.writeable for value in front.parameters.values())


def without(name):
    return {k: v for k, v in kept_bundle().front_state().items() if k != name}


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (without("conv1.bias"), "'conv1.bias' is missing"),
        ({**without(""), "odd": np.zeros(1, np.float32)}, "'odd' is missing or unknown"),
        ({**without(""), "conv1.bias": np.zeros(9, np.float32)}, r"is \(9,\) float32"),
        ({**without(""), "conv1.bias": np.zeros(4)}, "float64"),
    ],
)
def test_a_misfit_is_refused_and_the_state_stays(front, state, words):
    before = {name: value.copy() for name, value in front.state().items()}
    with pytest.raises(BundleError, match=words):
        front.load(state)
    assert all(np.array_equal(front.state()[name], before[name]) for name in before)


@pytest.mark.parametrize(
    "x", [np.zeros((2, 1, 9, 9), np.float32), np.zeros((2, 1, 8, 8)), np.zeros((2, 8, 8), "f4")]
)
def test_images_that_do_not_fit_are_an_error_of_ours(front, x):
    with pytest.raises(TrainingError, match="onnxruntime failed"):
        front.forward(x)

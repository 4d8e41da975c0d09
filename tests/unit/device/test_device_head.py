"""The head's graph in onnxruntime; expected values from NumPy, so torch is not needed."""

import numpy as np
import pytest

from harness.offline import kept_bundle, kept_head_bundle
from slfac.data import Dataset
from slfac.device.evaluation import evaluate
from slfac.device.front import Front
from slfac.device.head import Head
from slfac.device.losses import loss_sum
from slfac.device.stopwatch import Stopwatch
from slfac.wire.bundle import install_bundle
from slfac.wire.errors import BundleError

pytestmark = pytest.mark.device

HEAD = {"fc2.weight", "fc2.bias"}


@pytest.fixture
def bundle():
    return kept_head_bundle()


def softmax(y):
    shifted = np.exp(y - y.max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True)


def by_hand(state, h, target):
    """Loss of a linear layer and cross entropy, and its gradients."""
    weight, bias = state["fc2.weight"].astype(np.float64), state["fc2.bias"].astype(np.float64)
    chances = softmax(h.astype(np.float64) @ weight.T + bias)
    rows = np.arange(len(h))
    loss = -np.log(chances[rows, target]).mean()
    chances[rows, target] -= 1
    chances /= len(h)
    return loss, chances @ weight, {"fc2.weight": chances.T @ h, "fc2.bias": chances.sum(0)}


@pytest.mark.parametrize("batch", [1, 5, 17])
def test_a_step_gives_loss_and_gradients(bundle, batch):
    rng = np.random.default_rng(batch)
    h = rng.normal(size=(batch, 8)).astype(np.float32)
    target = rng.integers(0, 4, batch).astype(np.uint8)
    state = bundle.front_state()
    before = {name: value.copy() for name, value in state.items()}
    made = Head(bundle).step(state, [h], target, {})
    loss, crossing, gradients = by_hand(state, h, target)
    assert made.loss == pytest.approx(loss, rel=1e-5)
    (given,) = made.crossing
    np.testing.assert_allclose(given, crossing, atol=1e-6)
    assert made.gradients.keys() == HEAD
    for name, gradient in gradients.items():
        np.testing.assert_allclose(made.gradients[name], gradient, atol=1e-6)
    assert made.buffers == {}
    assert all(np.array_equal(state[name], value) for name, value in before.items())


def test_labels_far_from_sure_outputs_cost_what_they_should(bundle):
    state = bundle.front_state()
    h = np.full((1, 8), 1e4, np.float32)
    for label in range(4):
        made = Head(bundle).step(state, [h], np.array([label], np.uint8), {})
        assert made.loss == pytest.approx(by_hand_loss(state, h, label), rel=1e-5, abs=1e-5)


def by_hand_loss(state, h, label):
    y = (h @ state["fc2.weight"].T + state["fc2.bias"]).astype(np.float64)[0]
    return np.log(np.exp(y - y.max()).sum()) + y.max() - y[label]


def test_the_front_holds_what_the_head_trains(bundle):
    front = Front(bundle)
    assert front.parameters.keys() == {"conv1.weight", "conv1.bias", *HEAD}
    (z,) = front.forward(np.zeros((2, 1, 8, 8), np.float32))
    assert front.backward([np.ones_like(z)]).keys() == {"conv1.weight", "conv1.bias"}


def test_a_bundle_without_a_head_has_none():
    with pytest.raises(BundleError, match=r"has no head; export it with --head-cut"):
        Head(kept_bundle())
    with pytest.raises(BundleError, match="has no head"):
        evaluate(kept_bundle(), {}, None, batch_size=4, middle=lambda _: [], watch=Stopwatch())


def test_a_device_gets_what_it_evaluates_with(bundle, tmp_path):
    contents = bundle.contents("device")
    assert {"head.onnx", "head-infer.onnx", "infer.onnx"} <= contents.keys()
    assert "back.safetensors" not in contents
    copy = install_bundle(tmp_path / "copy", contents)
    Head(copy).step(copy.front_state(), [np.zeros((2, 8), np.float32)], np.zeros(2, int), {})


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_an_evaluation_scores_all_samples_whatever_the_batch(bundle, batch_size):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (20, 1, 8, 8), dtype=np.uint8)
    labels = np.array([0] * 12 + [1] * 5 + [3] * 3)
    state = bundle.front_state()
    fixed = rng.normal(size=(64, 8)).astype(np.float32) / 8
    seen = []

    def middle(smashed):
        (z,) = smashed
        assert len(z) <= batch_size
        seen.append(np.tanh(z.reshape(len(z), -1) @ fixed))
        return [seen[-1]]

    data, watch = Dataset(images, labels), Stopwatch()
    score = evaluate(bundle, state, data, batch_size=batch_size, middle=middle, watch=watch)
    h = np.concatenate(seen)
    predicted = (h @ state["fc2.weight"].T + state["fc2.bias"]).argmax(1)
    right = predicted == labels
    assert score.samples == 20
    assert score.scores.loss == pytest.approx(by_hand(state, h, labels)[0], rel=1e-5)
    assert score.scores.accuracy == right.mean()
    recalls = [right[labels == label].mean() for label in (0, 1, 3)]
    assert score.scores.balanced_accuracy == pytest.approx(np.mean(recalls))


def test_without_test_samples_there_is_no_score(bundle):
    score = evaluate(
        bundle, bundle.front_state(), None, batch_size=4, middle=lambda _: [], watch=Stopwatch()
    )
    assert score.samples == 0
    assert np.isnan(score.scores).all()


@pytest.mark.parametrize("scale", [1, 1e4])
def test_losses_are_those_of_their_definitions(scale):
    rng = np.random.default_rng(1)
    y = (rng.normal(size=(7, 4)) * scale).astype(np.float32)
    labels = rng.integers(0, 4, 7)
    one_hot = np.eye(4, dtype=np.float32)[labels]
    expected = sum(by_hand_log(y[i]) - float(y[i, labels[i]]) for i in range(7))
    assert loss_sum("cross_entropy", y, labels) == pytest.approx(expected, rel=1e-9)
    z = y.astype(np.float64)
    entropy = np.maximum(z, 0) - z * one_hot + np.log1p(np.exp(-np.abs(z)))
    assert loss_sum("bce_with_logits", y, one_hot) == pytest.approx(entropy.sum() / 4)
    assert loss_sum("mse", y, one_hot) == pytest.approx(((z - one_hot) ** 2).sum() / 4)


def by_hand_log(row):
    row = row.astype(np.float64)
    return row.max() + np.log(np.exp(row - row.max()).sum())

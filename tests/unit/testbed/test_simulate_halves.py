"""Simulated devices compute what boards compute: fronts, heads, optimisers, scores."""

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.offline import kept_bundle, kept_head_bundle, variant
from harness.site import write_digits
from slfac.codec import StreamKey
from slfac.device.draws import draw
from slfac.device.front import Front
from slfac.device.head import Head
from slfac.device.optim import make_optimizer
from slfac.export import export_bundle
from slfac.server.back import BackHalf
from slfac.server.evaluate import Evaluator
from slfac.testbed.simulate.codecs import Codecs, StreamCodec
from slfac.testbed.simulate.engine import share
from slfac.testbed.simulate.evaluate import TorchEvaluator
from slfac.testbed.simulate.front import TorchFront, to_numpy
from slfac.testbed.simulate.halves import device_halves
from slfac.testbed.simulate.head import TorchHead
from slfac.testbed.simulate.optim import TorchUpdates
from slfac.testbed.simulate.stage import Actor
from slfac.wire.bundle import write_bundle
from slfac.wire.errors import BundleError, TrainingError
from slfac.wire.factories import DEFAULT_ALLOWED
from slfac.wire.manifest import MANIFEST_NAME, BackSpec

CPU = torch.device("cpu")
ALLOW = (*DEFAULT_ALLOWED, "harness.own_models")
OPTIMIZERS = (
    "sgd:lr=0.1",
    "sgd:lr=0.1,momentum=0.9,weight_decay=0.01",
    "sgd:lr=0.1,clip_norm=0.5",
    "adam:lr=0.01,weight_decay=0.01",
    "adamw:lr=0.01,clip_value=0.02",
)


def own(out, **options):
    return export_bundle(
        model="harness.own_models:residual", input_shape=(1, 8, 8), out=out, **options
    ).bundle


@pytest.fixture(scope="module")
def dropping(tmp_path_factory):
    """A front with BatchNorm, dropout and two smashed tensors."""
    return own(tmp_path_factory.mktemp("own") / "b", cut="branch", kwargs={"norm": True})


def torch_front(bundle):
    halves = device_halves(bundle, ALLOW, CPU)
    return TorchFront(halves.front, bundle.manifest, bundle.front_state(), CPU)


def step(front, bundle, x, seed, part=0):
    """A step on noise; everything that comes out, as arrays."""
    rng = np.random.default_rng(seed)
    smashed = front.forward(x, draw(bundle.manifest.random, len(x), seed, 0, 0, 0), part)
    upstream = [rng.standard_normal(z.shape, dtype=np.float32) for z in map(np.asarray, smashed)]
    given_ = upstream if isinstance(front, Front) else list(map(torch.from_numpy, upstream))
    found = front.backward(given_, part)
    return [np.asarray(z) for z in smashed], {n: np.asarray(g) for n, g in found.items()}


def assert_same_step(front, twin, bundle, seed):
    x = np.random.default_rng(seed).standard_normal(
        (5, *bundle.manifest.input.shape), dtype=np.float32
    )
    (smashed, grads), (other, others) = (step(one, bundle, x, seed) for one in (front, twin))
    for ours, theirs in zip(smashed, other, strict=True):
        assert np.abs(ours - theirs).max() < 1e-5 * max(1, np.abs(ours).max())
    assert grads.keys() == others.keys()
    # Of a bias before BatchNorm the gradient is noise; the others' size says how small.
    size = max(np.abs(gradient).max() for gradient in grads.values())
    for name, gradient in grads.items():
        assert np.abs(gradient - others[name]).max() < 1e-4 * size, name
    state = twin.state()
    for name, tensor in front.state().items():
        assert state[name].dtype == tensor.dtype
        assert np.abs(state[name] - tensor).max() < 1e-5 * max(1, np.abs(tensor).max()), name
    return grads


def test_a_front_steps_as_the_bundle_s_graphs_do(dropping):
    front, twin = Front(dropping), torch_front(dropping)
    optimizer = make_optimizer("sgd:lr=0.01,momentum=0.9")
    updates = TorchUpdates("sgd:lr=0.01,momentum=0.9", twin.parameters)
    for seed in range(6):
        grads = assert_same_step(front, twin, dropping, seed)
        optimizer.step(front.parameters, grads)
        updates.step(twin.parameters, {n: torch.from_numpy(g) for n, g in grads.items()})
    assert front.buffers["norm.num_batches_tracked"] == 6


def test_nothing_changes_before_a_step_has_its_gradient(dropping):
    twin = torch_front(dropping)
    before = twin.state()
    twin.forward(np.ones((4, 1, 8, 8), np.float32), draw(dropping.manifest.random, 4, 0, 0, 0, 0))
    for name, tensor in twin.state().items():
        assert np.array_equal(tensor, before[name]), name
    with pytest.raises(TrainingError, match="without a forward pass"):
        twin.backward([], part=1)


def test_frozen_statistics_are_those_of_the_bundle(tmp_path):
    bundle = own(tmp_path / "b", cut="relu_", freeze_bn=True, kwargs={"norm": True})
    for seed in range(2):
        assert_same_step(Front(bundle), torch_front(bundle), bundle, seed)
    # What crosses is taken before the activation: as many values, but others.
    back = msgspec.structs.replace(bundle.manifest.back, cut="norm")
    files = {name: data for name, data in bundle.contents().items() if name != MANIFEST_NAME}
    manifest = msgspec.structs.replace(bundle.manifest, back=back)
    other = write_bundle(tmp_path / "other", manifest, files)
    with pytest.raises(BundleError, match="its model in torch is not what devices train"):
        share(other, ALLOW, "none", CPU)


def test_a_front_whose_dropout_is_frozen_is_refused(tmp_path):
    bundle = own(tmp_path / "b", cut="cat", train_from="branch")
    with pytest.raises(BundleError, match="cannot be simulated: export it without --train-from"):
        device_halves(bundle, ALLOW, CPU)


def test_a_factory_that_is_not_allowed_is_not_called(dropping):
    with pytest.raises(BundleError, match="not allowed"):
        device_halves(dropping, DEFAULT_ALLOWED, CPU)


def test_a_bundle_that_does_not_tell_its_front_is_refused(tmp_path):
    back = kept_bundle().manifest.back
    alone = BackSpec(factory=back.factory, kwargs=back.kwargs)
    with pytest.raises(BundleError, match="how its back half is built, and not its front"):
        device_halves(variant(tmp_path / "b", back=alone), DEFAULT_ALLOWED, CPU)


def test_a_model_that_computes_something_else_is_refused(tmp_path):
    back = kept_bundle().manifest.back
    assert share(kept_bundle(), ALLOW, "none", CPU).halves.head is None
    other = BackSpec(factory=back.factory, kwargs=back.kwargs, cut="conv1")
    with pytest.raises(BundleError, match=r"has tensors of shapes \(\(4, 8, 8\),\)"):
        share(variant(tmp_path / "other", back=other), ALLOW, "none", CPU)


def test_a_head_steps_as_the_bundle_s_graph_does():
    bundle = kept_head_bundle()
    manifest = bundle.manifest
    halves = device_halves(bundle, ALLOW, CPU)
    twin = TorchHead(halves.head, manifest, manifest.head, CPU)
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal((6, *s.shape), dtype=np.float32) for s in manifest.head.inputs]
    target = rng.integers(0, manifest.num_outputs, 6).astype(np.uint8)
    state = bundle.front_state()
    made = Head(bundle).step(state, inputs, target, {})
    tensors = TorchFront(halves.front, manifest, state, CPU)
    found = twin.step(
        {**tensors.parameters, **tensors.buffers}, list(map(torch.from_numpy, inputs)), target, {}
    )
    assert found.loss == pytest.approx(made.loss, abs=1e-6)
    for ours, theirs in zip(made.crossing, found.crossing, strict=True):
        assert np.abs(ours - theirs.numpy()).max() < 1e-6
    assert made.gradients.keys() == found.gradients.keys()
    for name, gradient in made.gradients.items():
        assert np.abs(gradient - found.gradients[name].numpy()).max() < 1e-6


@pytest.mark.parametrize("spec", OPTIMIZERS)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_an_optimiser_takes_the_steps_of_a_board_s(spec, seed):
    rng = np.random.default_rng(seed)
    shapes = {"a": (3, 4), "b": (5,), "unused": (2,)}
    params = {name: rng.standard_normal(s, dtype=np.float32) for name, s in shapes.items()}
    tensors = {n: torch.from_numpy(p.copy()).requires_grad_() for n, p in params.items()}
    ours, theirs = make_optimizer(spec), TorchUpdates(spec, tensors)
    assert ours.lr == theirs.lr
    for number in range(6):
        # As a schedule does; and what has no gradient stays as it is.
        ours.lr = theirs.lr = 0.1 / (number + 1)
        grads = {n: rng.standard_normal(shapes[n], dtype=np.float32) for n in ("a", "b")}
        ours.step(params, grads)
        theirs.step(tensors, {n: torch.from_numpy(g) for n, g in grads.items()})
        if number == 2:
            taken = theirs.state()
            theirs = TorchUpdates(spec, tensors)
            theirs.restore(taken)
    for name, array in params.items():
        assert np.abs(array - to_numpy(tensors[name])).max() < 1e-5, name


def test_the_state_of_another_optimiser_is_refused():
    tensors = {"a": torch.ones(3, requires_grad=True)}
    with pytest.raises(TrainingError, match="does not fit"):
        TorchUpdates("sgd:lr=0.1", tensors).restore({"x.momentum_buffer": np.ones(3, np.float32)})


def test_what_a_codec_remembers_is_that_of_its_device():
    rng = np.random.default_rng(0)
    maps = [torch.from_numpy(rng.standard_normal((4, 6, 8, 8), dtype=np.float32)) for _ in "ab"]
    # Channels that differ in how much they hold, and not alike on both devices.
    maps = [x * torch.logspace(-2, 2, 6 + 2 * n)[:6].view(1, 6, 1, 1) for n, x in enumerate(maps)]
    keys = [StreamKey(seed=0, device=index, step=0) for index in (0, 1)]

    def streams(codecs):
        return [StreamCodec(codecs, Actor("d", lambda _: None), index, 0) for index in (0, 1)]

    def encoded(codecs):
        return [bytes(data) for data in codecs.encode(list(zip(maps, keys, strict=True)))]

    codecs, fresh = Codecs("slacc", CPU), Codecs("slacc", CPU)
    assert [one.state() for one in streams(codecs)] == [{}, {}]
    encoded(codecs)
    states = [one.state() for one in streams(codecs)]
    assert states[0] != states[1]
    for one, state in zip(streams(fresh), states, strict=True):
        one.restore(state)
    assert [one.state() for one in streams(fresh)] == states
    assert encoded(fresh) == encoded(codecs)


def test_fronts_score_in_torch_as_in_their_graph(bn_bundle, tmp_path):
    images = write_digits(tmp_path / "images", train=10, test=300, size=8)
    back = BackHalf(bn_bundle, "sgd:lr=0.1", DEFAULT_ALLOWED)
    front = bn_bundle.front_state()
    expected = Evaluator(bn_bundle, images, 1).score(front, back)
    found = TorchEvaluator(share(bn_bundle, ALLOW, "none", CPU), images).score(front, back)
    assert found.loss == pytest.approx(expected.loss, abs=1e-6)
    assert found.accuracy == expected.accuracy

"""A user's model with dropout and two smashed tensors trains as torch would by itself."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from harness.halves import torch_halves
from harness.site import Site, run_site, write_digits
from slfac.data import BatchStream, apply, open_dataset
from slfac.device.draws import draw
from slfac.export import export_bundle
from slfac.export.draws import GivenDraws
from slfac.wire.errors import BundleError

SHAPE = (1, 8, 8)
ALLOW = ("harness.own_models",)
ROUNDS, STEPS, BATCH, SEED = 2, 12, 8, 4


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_digits(tmp_path_factory.mktemp("digits"), train=100, test=20, size=8)


def exported(out, **options):
    return export_bundle(
        model="harness.own_models:residual", input_shape=SHAPE, out=out / "bundle", **options
    ).bundle


def run(tmp_path, bundle, data, **settings):
    site = Site.make(tmp_path, bundle.path, data, devices=1)
    server, devices = run_site(
        site,
        rounds=ROUNDS,
        steps_per_round=STEPS,
        batch_size=BATCH,
        optimizer="sgd:lr=0.05",
        codec_up="none",
        codec_down="none",
        partition="own",
        seed=SEED,
        allow_factories=ALLOW,
        **settings,
    )
    return server.finished(), devices[0]


def changed(bundle, result):
    before = bundle.front_state()
    return {name for name, value in result.front.items() if not np.array_equal(value, before[name])}


def batches(bundle, data):
    manifest = bundle.manifest
    dataset = open_dataset(data, split="train", input_shape=SHAPE, num_classes=10)
    stream = BatchStream(len(dataset), BATCH, SEED, 0)
    while True:
        rows = stream.next()
        x = apply(manifest.preprocessing, dataset.images[rows])
        yield torch.from_numpy(x), torch.from_numpy(dataset.labels[rows])


def test_dropout_and_two_smashed_tensors(tmp_path, data):
    bundle = exported(tmp_path, cut="branch", kwargs={"norm": True})
    manifest = bundle.manifest
    assert [spec.shape for spec in manifest.smashed] == [(4, 8, 8), (6, 8, 8)]
    assert [spec.shape for spec in manifest.random] == [(4, 8, 8)]
    _result, device = run(tmp_path, bundle, data)
    assert len(device.losses) == ROUNDS * STEPS
    assert np.isfinite(device.losses).all()


def test_every_step_is_that_of_torch_with_the_same_numbers(tmp_path, data):
    bundle = exported(tmp_path, cut="cat")
    assert [spec.shape for spec in bundle.manifest.random] == [(4, 8, 8), (6, 1, 1)]
    result, device = run(tmp_path, bundle, data)
    front, back = torch_halves(bundle)
    optimizer = torch.optim.SGD([*front.parameters(), *back.parameters()], lr=0.05)
    losses = []
    for step, (x, target) in zip(range(ROUNDS * STEPS), batches(bundle, data), strict=False):
        drawn = draw(bundle.manifest.random, len(x), SEED, 0, step // STEPS, step)
        with GivenDraws([torch.from_numpy(value) for value in drawn.values()]):
            smashed = front(x)
        loss = functional.cross_entropy(back(smashed), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.abs(np.array(device.losses) - np.array(losses)).max() < 1e-5
    for name, tensor in front.state_dict().items():
        assert np.abs(result.front[name] - tensor.numpy()).max() < 1e-6, name
    trained = load_file(result.checkpoint / "back.safetensors")
    for name, tensor in back.state_dict().items():
        assert (trained[name] - tensor).abs().max() < 1e-6, name


def test_frozen_parts_stay_as_they_are_through_a_run(tmp_path, data):
    bundle = exported(tmp_path, cut="cat", train_from="branch", kwargs={"norm": True})
    manifest = bundle.manifest
    assert [spec.name for spec in manifest.parameters] == ["branch.weight", "branch.bias"]
    assert "norm.running_var" in manifest.graphs.forward.frozen
    result, _ = run(tmp_path, bundle, data)
    assert changed(bundle, result) == {"branch.weight", "branch.bias"}


def test_frozen_statistics_stay_and_the_weights_of_batchnorm_are_trained(tmp_path, data):
    bundle = exported(tmp_path, cut="relu_", freeze_bn=True, kwargs={"norm": True})
    result, _ = run(tmp_path, bundle, data)
    assert changed(bundle, result) == {"stem.weight", "stem.bias", "norm.weight", "norm.bias"}


def test_a_server_refuses_a_factory_that_it_does_not_allow(tmp_path, data):
    bundle = exported(tmp_path, cut="cat")
    site = Site.make(tmp_path, bundle.path, data, devices=1)
    refused = pytest.raises(
        BundleError, match=r"harness\.own_models:residual, which is not allowed"
    )
    with refused, site.server():
        pass

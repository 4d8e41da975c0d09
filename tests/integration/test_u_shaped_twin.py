"""A run whose head and labels stay on the devices trains as torch alone would."""

import pytest
import torch

from harness.mode_twin import assert_follows, device_batches
from harness.site import Site, run_site, write_digits
from harness.u_twin import UShapedTwin
from slfac.export import export_bundle
from slfac.wire.manifest import Preprocessing

SEED, STEPS, RATE = 5, 50, 0.05


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return export_bundle(
        model="cnn",
        kwargs={"channels": [4, 8], "hidden": 16},
        cut="pool1",
        head_cut="flatten",
        input_shape=(1, 12, 12),
        out=tmp_path_factory.mktemp("u-shaped") / "bundle",
        num_classes=10,
        seed=SEED,
        preprocessing=Preprocessing(scale=1 / 255, mean=(0.5,), std=(0.25,)),
    ).bundle


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_digits(tmp_path_factory.mktemp("images"), train=600, test=201, size=12)


def test_a_run_follows_its_twin_step_by_step(tmp_path, bundle, images):
    site = Site.make(tmp_path, bundle.path, images, devices=3)
    server, devices = run_site(
        site,
        data=None,
        rounds=2,
        steps_per_round=STEPS // 2,
        batch_size=16,
        optimizer=f"sgd:lr={RATE},momentum=0.9",
        codec_up="none",
        codec_down="none",
        partition="dirichlet:beta=0.5",
        seed=SEED,
    )
    draws = [
        device_batches(
            bundle, images, index=i, count=3, batch_size=16, scheme="dirichlet", seed=SEED
        )[0]
        for i in range(3)
    ]
    twin = UShapedTwin(bundle, draws, lambda p: torch.optim.SGD(p, lr=RATE, momentum=0.9))
    twin.replay(server.seen, site.names)
    assert {len(losses) for losses in twin.losses} == {STEPS}
    assert_follows(server, devices, twin, twin.front.weights())
    result = server.finished()
    # What the devices say of their thirds of the test split comes to the score of all of it.
    assert server.of_kind("run")[0]["mode"] == "u-shaped"
    assert result.rounds[-1].score.samples == 201
    assert twin.accuracy(bundle, images) == pytest.approx(result.accuracy, abs=0.01)
    assert result.rounds[-1].score.balanced_accuracy == pytest.approx(result.accuracy, abs=0.05)

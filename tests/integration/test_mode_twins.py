"""Every mode trains as torch alone would on the same batches in the same order."""

import pytest
import torch

from harness.halves import torch_halves
from harness.mode_twin import ModeTwin, assert_follows, device_batches
from harness.site import Site, run_site, write_digits
from slfac.export import export_bundle
from slfac.server.modes.kinds import U_SHAPED, mode_names
from slfac.wire.manifest import Preprocessing

SEED = 5
STEPS = 50
# One step for all devices, where other modes make one for each.
RATES = {"parallel": 0.05}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return export_bundle(
        model="cnn",
        kwargs={"channels": [4, 8], "hidden": 16},
        cut="pool1",
        input_shape=(1, 12, 12),
        out=tmp_path_factory.mktemp("modes") / "bundle",
        num_classes=10,
        seed=SEED,
        preprocessing=Preprocessing(scale=1 / 255, mean=(0.5,), std=(0.25,)),
    ).bundle


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_digits(tmp_path_factory.mktemp("images"), train=600, test=200, size=12)


# The one with heads is held to its own twin by test_u_shaped_twin.py.
@pytest.mark.parametrize("mode", [name for name in mode_names() if name != U_SHAPED.name])
def test_a_mode_follows_its_twin_step_by_step(tmp_path, bundle, images, mode):
    rate = RATES.get(mode, 0.02)
    site = Site.make(tmp_path, bundle.path, images, devices=3)
    server, devices = run_site(
        site,
        mode=mode,
        rounds=2,
        steps_per_round=STEPS // 2,
        batch_size=16,
        optimizer=f"sgd:lr={rate},momentum=0.9",
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
    twin = ModeTwin(
        mode, *torch_halves(bundle), draws, lambda p: torch.optim.SGD(p, lr=rate, momentum=0.9)
    )
    twin.replay(server.seen, site.names)
    assert {len(losses) for losses in twin.losses} == {STEPS}
    assert_follows(server, devices, twin, twin.front.state_dict())
    result = server.finished()
    assert twin.accuracy(bundle, images) == pytest.approx(result.accuracy, abs=0.01)

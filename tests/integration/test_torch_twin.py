"""The proof: devices without torch train as torch itself would."""

import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from harness.halves import torch_halves
from harness.mode_twin import device_batches
from harness.site import Site, run_site, write_digits
from harness.twin import Twin
from slfac.export import export_bundle
from slfac.wire.bundle import open_bundle
from slfac.wire.manifest import Preprocessing

SEED = 5
SHAPE = (1, 28, 28)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("twin") / "bundle"
    return export_bundle(
        model="cnn",
        kwargs={},
        cut="pool1",
        input_shape=SHAPE,
        out=folder,
        num_classes=10,
        seed=SEED,
        preprocessing=Preprocessing(scale=1 / 255, mean=(0.5,), std=(0.25,)),
    ).bundle


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_digits(tmp_path_factory.mktemp("images"), train=600, test=50, size=28)


def batches_of(bundle, data, *, index, count, batch_size, scheme, beta=0.5):
    """The batches that a device draws, and how many make a pass."""
    return device_batches(
        bundle,
        data,
        index=index,
        count=count,
        batch_size=batch_size,
        scheme=scheme,
        beta=beta,
        seed=SEED,
    )


@pytest.mark.parametrize(
    ("spec", "make"),
    [
        (
            "sgd:lr=0.02,momentum=0.9,weight_decay=0.0005",
            lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9, weight_decay=0.0005),
        ),
        ("adam:lr=0.0005", lambda p: torch.optim.Adam(p, lr=0.0005)),
    ],
)
def test_one_device_follows_all_torch_training_step_by_step(tmp_path, bundle, images, spec, make):
    site = Site.make(tmp_path, bundle.path, images, devices=1)
    server, devices = run_site(
        site,
        rounds=2,
        steps_per_round=32,
        batch_size=16,
        optimizer=spec,
        codec_up="none",
        codec_down="none",
        partition="own",
        seed=SEED,
    )
    front, back = torch_halves(bundle)
    twin = Twin([front], back, make)
    draw, _ = batches_of(bundle, images, index=0, count=1, batch_size=16, scheme="own")
    twin.round([draw], [64])
    ours = np.array(devices[0].losses)
    theirs = np.array(twin.losses[0])
    assert len(ours) == 64
    assert np.abs(ours - theirs).max() < 1e-4
    assert theirs[-8:].mean() < 0.5 * theirs[:8].mean(), "it has to learn, or this proves nothing"
    for name, tensor in server.finished().front.items():
        assert np.allclose(tensor, front.state_dict()[name].numpy(), atol=1e-4)


def test_both_halves_follow_schedule_and_clipping_as_in_torch(tmp_path, bundle, images):
    rounds, steps = 3, 8
    site = Site.make(tmp_path, bundle.path, images, devices=1)
    server, devices = run_site(
        site,
        rounds=rounds,
        steps_per_round=steps,
        batch_size=16,
        optimizer="sgd:lr=0.05,momentum=0.9,clip_norm=0.5",
        device_optimizer="sgd:lr=0.02,clip_value=0.001",
        schedule="cosine:warmup=1,final=0.1",
        codec_up="none",
        codec_down="none",
        partition="own",
        seed=SEED,
    )
    front, back = torch_halves(bundle)
    of_front = torch.optim.SGD(front.parameters(), lr=0.02)
    of_back = torch.optim.SGD(back.parameters(), lr=0.05, momentum=0.9)
    draw, _ = batches_of(bundle, images, index=0, count=1, batch_size=16, scheme="own")
    losses, norms, largest = [], [], []
    for step in range(rounds * steps):
        past = step - steps
        share = 0.1 + 0.9 * (1 + math.cos(math.pi * past / (2 * steps))) / 2
        for optimizer, rate in ((of_front, 0.02), (of_back, 0.05)):
            optimizer.param_groups[0]["lr"] = rate * ((step + 1) / steps if past < 0 else share)
            optimizer.zero_grad()
        x, labels = draw()
        loss = torch.nn.functional.cross_entropy(back(front(x)), labels)
        loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(back.parameters(), 0.5)))
        largest.append(max(float(p.grad.abs().max()) for p in front.parameters()))
        torch.nn.utils.clip_grad_value_(front.parameters(), 0.001)
        of_front.step()
        of_back.step()
        losses.append(loss.item())
    assert np.abs(np.array(devices[0].losses) - losses).max() < 1e-4
    for name, tensor in server.finished().front.items():
        assert np.allclose(tensor, front.state_dict()[name].numpy(), atol=1e-4)
    assert sum(norm > 0.5 for norm in norms) > 5, "it has to clip, or this proves nothing"
    assert sum(value > 0.001 for value in largest) > 5
    shares = [event["lr_share"] for event in server.of_kind("round")]
    assert shares == pytest.approx([1, 0.1 + 0.9 * 0.597545, 0.1 + 0.9 * 0.009607], abs=1e-5)


def test_devices_of_unequal_size_follow_their_twin(tmp_path, bundle, images):
    site = Site.make(tmp_path, bundle.path, images, devices=3)
    _, devices = run_site(
        site,
        rounds=2,
        batch_size=16,
        optimizer="sgd:lr=0.02",
        codec_up="none",
        codec_down="none",
        partition="dirichlet:beta=0.5",
        seed=SEED,
    )
    shares = [
        batches_of(bundle, images, index=i, count=3, batch_size=16, scheme="dirichlet")
        for i in range(3)
    ]
    assert len({steps for _, steps in shares}) > 1, "devices must differ in steps"
    back = torch_halves(bundle)[1]
    twin = Twin(
        [torch_halves(bundle)[0] for _ in range(3)], back, lambda p: torch.optim.SGD(p, lr=0.02)
    )
    for _ in range(2):
        twin.round([draw for draw, _ in shares], [steps for _, steps in shares])
    for device, losses in zip(devices, twin.losses, strict=True):
        assert np.abs(np.array(device.losses) - np.array(losses)).max() < 1e-4


def test_averaging_after_every_sgd_step_equals_one_big_batch(tmp_path, bundle, images):
    """Without BatchNorm the averaged fronts take the big batch's own step."""
    rounds, count = 10, 3
    site = Site.make(tmp_path, bundle.path, images, devices=count)
    server, _ = run_site(
        site,
        rounds=rounds,
        steps_per_round=1,
        batch_size=64,
        optimizer="sgd:lr=0.05",
        codec_up="none",
        codec_down="none",
        partition="dirichlet:beta=0.3",
        seed=SEED,
    )
    shares = [
        batches_of(
            bundle, images, index=i, count=count, batch_size=64, scheme="dirichlet", beta=0.3
        )
        for i in range(count)
    ]
    front, back = torch_halves(bundle)
    optimizer = torch.optim.SGD([*front.parameters(), *back.parameters()], lr=0.05)
    sizes = set()
    for _ in range(rounds):
        drawn = [draw() for draw, _ in shares]
        sizes.add(tuple(len(labels) for _, labels in drawn))
        x, labels = (torch.cat(tensors) for tensors in zip(*drawn, strict=True))
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(back(front(x)), labels).backward()
        optimizer.step()
    assert any(len(set(batch)) > 1 for batch in sizes), "batches must differ in size"
    result = server.finished()
    for name, tensor in result.front.items():
        assert np.abs(tensor - front.state_dict()[name].numpy()).max() < 1e-6
    trained = load_file(result.checkpoint / "back.safetensors")
    for name, tensor in back.state_dict().items():
        assert (trained[name] - tensor).abs().max() < 1e-6
    assert open_bundle(bundle.path).id == bundle.id

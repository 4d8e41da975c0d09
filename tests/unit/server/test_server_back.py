import sys
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn import functional

from harness.offline import kept_bundle, variant
from harness.twins import CPU, DEVICES
from slfac.server import server_settings
from slfac.server.back import BackHalf, Batch
from slfac.wire.errors import BundleError, TrainingError
from slfac.wire.manifest import BackSpec

ALLOW = ("slfac.export.models",)
TORCH_LOSSES = {
    "cross_entropy": functional.cross_entropy,
    "bce_with_logits": functional.binary_cross_entropy_with_logits,
    "mse": functional.mse_loss,
}


def batch(rng, size, loss="cross_entropy"):
    smashed = rng.normal(size=(size, 4, 4, 4)).astype(np.float32)
    if loss == "cross_entropy":
        return Batch((torch.from_numpy(smashed),), rng.integers(0, 4, size))
    return Batch((torch.from_numpy(smashed),), rng.random((size, 4)).astype(np.float32))


@pytest.mark.parametrize("loss", TORCH_LOSSES)
def test_each_device_gets_the_gradient_and_loss_of_its_own_mean(tmp_path, loss):
    back = BackHalf(variant(tmp_path / "b", loss=loss), "sgd:lr=0.1", ALLOW)
    twin = BackHalf(kept_bundle(), "sgd", ALLOW).module
    rng = np.random.default_rng(0)
    batches = [batch(rng, size, loss) for size in (3, 1, 6)]
    outcomes = back.step(batches)
    for told, given in zip(outcomes, batches, strict=True):
        x = given.smashed[0].clone().requires_grad_()
        own = TORCH_LOSSES[loss](twin(x), torch.from_numpy(given.target))
        own.backward()
        assert told.loss == pytest.approx(own.item(), rel=1e-5)
        assert told.gradients[0].shape == x.shape
        assert told.gradients[0].dtype == torch.float32
        assert torch.allclose(told.gradients[0], x.grad, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_a_step_gives_the_same_on_every_device(device):
    backs = [BackHalf(kept_bundle(), "sgd:lr=0.1,momentum=0.9", ALLOW, d) for d in (CPU, device)]
    for seed in range(3):
        batches = [batch(np.random.default_rng(seed), size) for size in (3, 1, 6)]
        moved = [Batch(tuple(x.to(device) for x in b.smashed), b.target) for b in batches]
        for expected, told in zip(backs[0].step(batches), backs[1].step(moved), strict=True):
            assert told.gradients[0].device.type == device.type
            assert told.loss == pytest.approx(expected.loss, rel=1e-4)
            assert torch.allclose(told.gradients[0].cpu(), expected.gradients[0], atol=1e-5)
    given = batch(np.random.default_rng(9), 8)
    scores = [back.evaluate([given.smashed[0].numpy()], given.target) for back in backs]
    assert scores[0][0] == pytest.approx(scores[1][0], rel=1e-4)
    assert scores[0][1].tolist() == scores[1][1].tolist()


def test_a_device_that_is_not_there_is_said():
    with pytest.raises(TrainingError, match="cannot be moved to cuda:99") as caught:
        BackHalf(kept_bundle(), "sgd", ALLOW, torch.device("cuda:99"))
    assert "--torch-device cpu" in caught.value.remedy


def out_of_memory(*_, **__):
    raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")


@pytest.mark.parametrize("fails", ["forward", "backward", "evaluate"])
def test_a_device_whose_memory_is_full_is_said_with_what_to_do(fails, monkeypatch):
    back = BackHalf(kept_bundle(), "sgd", ALLOW)
    given = batch(np.random.default_rng(0), 3)
    if fails == "backward":
        monkeypatch.setattr(torch.autograd, "backward", out_of_memory)
    else:
        monkeypatch.setattr(back.module, "forward", out_of_memory)
    work = partial(back.step, [given])
    if fails == "evaluate":
        work = partial(back.evaluate, [given.smashed[0].numpy()], given.target)
    with pytest.raises(TrainingError, match="the GPU's memory is full while") as caught:
        work()
    assert "Tried to allocate 2 GiB" in caught.value.what
    assert "--batch-size" in caught.value.remedy


def test_the_back_takes_the_step_of_one_batch_of_all_samples():
    back = BackHalf(kept_bundle(), "sgd:lr=0.1", ALLOW)
    twin = BackHalf(kept_bundle(), "sgd", ALLOW).module
    rng = np.random.default_rng(1)
    batches = [batch(rng, size) for size in (5, 2)]
    back.step(batches)
    x = torch.cat([b.smashed[0] for b in batches])
    target = torch.from_numpy(np.concatenate([b.target for b in batches]))
    functional.cross_entropy(twin(x), target).backward()
    for trained, before in zip(back.module.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(trained, before - 0.1 * before.grad, atol=1e-7)


@pytest.mark.parametrize("loss", TORCH_LOSSES)
def test_evaluation_sums_losses_and_names_classes_and_changes_nothing(tmp_path, loss):
    back = BackHalf(variant(tmp_path / "b", loss=loss), "sgd:lr=0.1", ALLOW)
    before = {k: v.clone() for k, v in back.module.state_dict().items()}
    given = batch(np.random.default_rng(2), 9, loss)
    total, predicted = back.evaluate([given.smashed[0].numpy()], given.target)
    with torch.no_grad():
        output = back.module.eval()(given.smashed[0])
    target = torch.from_numpy(given.target)
    assert total == pytest.approx(9 * float(TORCH_LOSSES[loss](output, target)), rel=1e-5)
    assert predicted.tolist() == output.argmax(1).tolist()
    for name, tensor in back.module.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_a_loss_that_is_not_finite_is_left_out_and_leaves_the_weights(tmp_path):
    back = BackHalf(variant(tmp_path / "b", loss="mse"), "sgd:lr=0.1", ALLOW)
    before = {k: v.clone() for k, v in back.module.state_dict().items()}
    huge = Batch((torch.ones(2, 4, 4, 4),), np.full((2, 4), 3e38, np.float32))
    assert back.step([huge]) == [None]
    for name, tensor in back.module.state_dict().items():
        assert torch.equal(tensor, before[name])


def with_factory(tmp_path, path, /, **kwargs):
    return variant(tmp_path / "b", back=BackSpec(factory=path, kwargs=kwargs))


@pytest.mark.parametrize(
    ("factory", "allow"),
    [
        ("slfac.export.rebuild:find_factory", ALLOW),
        ("slfac.export.models_more:cnn", ALLOW),
        ("os:system", ALLOW),
        ("slfac.exporter:back", ("slfac.export",)),
        ("os:system", ()),
        ("os:system", ("",)),
    ],
)
def test_only_allowed_factories_are_called_and_the_remedy_names_this_one(tmp_path, factory, allow):
    with pytest.raises(BundleError, match=f"{factory}, which is not allowed") as caught:
        BackHalf(with_factory(tmp_path, factory), "sgd", allow)
    assert f"--allow-factories {factory}" in caught.value.remedy


def test_a_hostile_bundle_runs_no_command_with_the_default_settings(tmp_path):
    proof = tmp_path / "proof"
    bundle = with_factory(
        tmp_path,
        "os:system",
        command=f"touch {proof}",
    )
    settings = server_settings(bundle="b", out="o", keys=tmp_path)
    with pytest.raises(BundleError, match="not allowed"):
        BackHalf(bundle, "sgd", settings.allow_factories)
    assert not proof.exists()


FACTORIES = """
import os
import torch
from os import system

def flat(width):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, width))

def number():
    return 5

def broken():
    raise KeyError("lost")

class Back(torch.nn.Module):
    pass
"""


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    (tmp_path / "own_back_factories.py").write_text(FACTORIES)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_back_factories", raising=False)
    return "own_back_factories"


@pytest.mark.parametrize(
    ("name", "kwargs", "words"),
    [
        ("missing", {}, "missing"),
        ("number", {}, "it made a int, not a torch module"),
        ("broken", {}, "lost"),
        ("flat", {}, "width"),
        ("flat", {"width": 4}, "Missing key"),
        ("Back", {}, "Unexpected key"),
        ("system", {"command": "true"}, "does not define system"),
    ],
)
def test_a_factory_that_fails_is_said(tmp_path, own_module, name, kwargs, words):
    bundle = with_factory(tmp_path, f"{own_module}:{name}", **kwargs)
    with pytest.raises(BundleError, match=f"{own_module}:{name} cannot be rebuilt") as caught:
        BackHalf(bundle, "sgd", (own_module,))
    assert words in str(caught.value)


def test_a_missing_module_is_said(tmp_path):
    with pytest.raises(BundleError, match="No module named 'no_such_module'"):
        BackHalf(with_factory(tmp_path, "no_such_module:f"), "sgd", ("no_such_module",))


def test_a_batch_that_the_model_cannot_take_is_an_error_of_ours():
    wrong = Batch((torch.zeros(2, 3, 4, 4),), np.zeros(2, np.int64))
    with pytest.raises(TrainingError, match="the back half failed on a batch of 2"):
        BackHalf(kept_bundle(), "sgd", ALLOW).step([wrong])


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("value", [3e38, -3e38, 1e25, 2e6])
def test_a_device_with_huge_data_is_left_out_and_the_rest_step_as_without_it(tmp_path, loss, value):
    bundle = variant(tmp_path / "b", loss=loss)
    back, twin = (BackHalf(bundle, "sgd:lr=0.1", ALLOW) for _ in range(2))
    rng = np.random.default_rng(3)
    first, bad, last = (batch(rng, size, loss) for size in (3, 2, 4))
    bad.smashed[0][1, 2, 3, 0] = value
    told = back.step([first, bad, last])
    expected = twin.step([first, last])
    assert told[1] is None
    for outcome, alone in zip((told[0], told[2]), expected, strict=True):
        assert outcome.loss == alone.loss
        assert torch.equal(outcome.gradients[0], alone.gradients[0])
    for name, tensor in back.module.state_dict().items():
        assert torch.equal(tensor, twin.module.state_dict()[name])


def test_huge_targets_leave_their_device_out(tmp_path):
    back = BackHalf(variant(tmp_path / "b", loss="mse"), "sgd:lr=0.1", ALLOW)
    rng = np.random.default_rng(3)
    bad = batch(rng, 2, "mse")
    bad.target[0, 0] = 1e18
    told = back.step([bad, batch(rng, 3, "mse")])
    assert told[0] is None
    assert told[1] is not None


class Overflowing(torch.nn.Module):
    """Inputs of 9 give an infinite loss; BatchNorm counts what came by."""

    def __init__(self):
        super().__init__()
        self.norm = torch.nn.BatchNorm2d(4)
        self.linear = torch.nn.Linear(64, 4)

    def forward(self, x):
        self.norm(x)
        return self.linear(x.flatten(1)) * torch.where(x.amax((1, 2, 3)) == 9, 1e38, 1.0)[:, None]


def test_a_device_whose_own_loss_is_not_finite_leaves_no_trace_in_the_statistics(tmp_path):
    bundle = variant(tmp_path / "b", loss="mse")
    backs = [BackHalf(bundle, "sgd:lr=0.1", ALLOW) for _ in range(2)]
    for back in backs:
        torch.manual_seed(0)
        back.module = Overflowing()
    rng = np.random.default_rng(3)
    good, bad = batch(rng, 3, "mse"), batch(rng, 2, "mse")
    bad.smashed[0][0, 0, 0, 0] = 9
    assert backs[0].step([bad, good])[0] is None
    backs[1].step([good])
    for name, tensor in backs[0].module.state_dict().items():
        assert torch.equal(tensor, backs[1].module.state_dict()[name])


def test_a_gradient_that_is_not_finite_ends_training_and_leaves_the_weights():
    back = BackHalf(kept_bundle(), "sgd:lr=0.1", ALLOW)
    before = {k: v.clone() for k, v in back.module.state_dict().items()}
    next(back.module.parameters()).register_hook(lambda grad: grad * float("inf"))
    with pytest.raises(TrainingError, match="diverged; lower the learning rate"):
        back.step([batch(np.random.default_rng(4), 3)])
    for name, tensor in back.module.state_dict().items():
        assert torch.equal(tensor, before[name])

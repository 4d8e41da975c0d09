"""bf16 in the back half: what torch's autocast gives, with weights that stay float32."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from harness.offline import kept_bundle
from harness.script import Script, run_script
from slfac.server import server_settings
from slfac.server.accelerator import choose_precision
from slfac.server.back import BackHalf, Batch, Portion
from slfac.wire.errors import SettingsError

ALLOW = ("slfac.export.models",)
CPU, CUDA = torch.device("cpu"), torch.device("cuda")
OPTIMIZER = "sgd:lr=0.1,momentum=0.9"


def half(precision):
    return BackHalf(kept_bundle(), OPTIMIZER, ALLOW, CPU, precision)


def batch(seed, size=6):
    rng = np.random.default_rng(seed)
    smashed = torch.from_numpy(rng.normal(size=(size, 4, 4, 4)).astype(np.float32))
    return Batch((smashed,), rng.integers(0, 4, size))


def test_steps_in_bf16_are_those_of_torch_autocast():
    back, twin = half(torch.bfloat16), half(torch.float32).module
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9)
    for seed in range(4):
        given = batch(seed)
        x = given.smashed[0].clone().requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = functional.cross_entropy(twin(x), torch.from_numpy(given.target))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        (told,) = back.step([given])
        assert told.loss == pytest.approx(loss.item(), rel=1e-6)
        assert torch.allclose(told.gradients[0], x.grad, rtol=1e-5, atol=1e-8)
    for trained, expected in zip(back.module.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(trained, expected, rtol=1e-6, atol=1e-8)


def test_bf16_computes_with_fewer_bits_and_keeps_all_else_float32():
    backs = [half(torch.float32), half(torch.bfloat16)]
    exact, rounded = (back.step([batch(0)])[0] for back in backs)
    difference = (exact.gradients[0] - rounded.gradients[0]).norm() / exact.gradients[0].norm()
    assert 1e-4 < difference < 0.05
    state = backs[1].optimizer.state.values()
    held = [*backs[1].module.state_dict().values(), *(t for one in state for t in one.values())]
    held += [p.grad for p in backs[1].module.parameters()]
    assert len(held) >= 3 * len([*backs[1].module.parameters()])
    assert {tensor.dtype for tensor in (*held, *rounded.gradients)} == {torch.float32}


def test_a_step_in_parts_adds_up_float32_gradients():
    whole, parts = half(torch.bfloat16), half(torch.bfloat16)
    given = batch(3, 8)
    (told,) = whole.step([given])
    gradients = []
    for part in (slice(0, 5), slice(5, 8)):
        own = Batch((given.smashed[0][part],), given.target[part], step_samples=8)
        portion = Portion(samples=8, first=part.start == 0, last=part.stop == 8)
        gradients += [one.gradients[0] for one in parts.step([own], portion)]
    assert torch.allclose(torch.cat(gradients), told.gradients[0], rtol=0.05, atol=1e-5)
    for one, other in zip(parts.module.parameters(), whole.module.parameters(), strict=True):
        assert one.grad.dtype == torch.float32
        assert (one.grad - other.grad).norm() <= 0.02 * other.grad.norm()


def test_evaluation_is_in_the_same_precision():
    given = batch(1, 40)
    smashed = given.smashed[0].numpy()
    losses = [half(p).evaluate([smashed], given.target)[0] for p in (torch.float32, torch.bfloat16)]
    module = half(torch.float32).module.eval()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        output = module(given.smashed[0])
    target = torch.from_numpy(given.target)
    expected = functional.cross_entropy(output.float(), target, reduction="sum").item()
    assert losses[1] == pytest.approx(expected, rel=1e-6)
    assert losses[1] != losses[0]


@pytest.mark.parametrize(
    ("name", "device", "has_bf16", "dtype"),
    [
        ("float32", CUDA, True, torch.float32),
        ("bf16", CPU, False, torch.bfloat16),
        ("bf16", CUDA, False, torch.bfloat16),
        ("auto", CPU, True, torch.float32),
        ("auto", CUDA, True, torch.bfloat16),
        ("auto", CUDA, False, torch.float32),
    ],
)
def test_auto_is_bf16_only_on_a_gpu_that_computes_in_it(name, device, has_bf16, dtype, monkeypatch):
    def supported(*, including_emulation):
        return has_bf16 or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert choose_precision(name, device) == dtype


def test_fp16_is_not_offered(tmp_path):
    with pytest.raises(SettingsError, match=r"setting precision is 'fp16': .*'float32', 'bf16'"):
        server_settings(bundle="b", out=tmp_path, keys=tmp_path, precision="fp16")


def test_a_run_in_bf16_goes_on_from_its_checkpoint_bit_for_bit(tmp_path):
    def play(out, **changes):
        script = Script()
        script.obey(0)
        script.join(0)
        return run_script(tmp_path, script, devices=1, out=out, precision="bf16", **changes)

    whole = play("whole", rounds=3)
    play("part", rounds=2)
    part = play("part", rounds=3, resume=True)
    for name, tensor in whole.back.module.state_dict().items():
        assert torch.equal(tensor, part.back.module.state_dict()[name]), name

"""The choice of what computes the front. A stand-in takes a GPU's place; a real one is used too."""

import msgspec
import numpy as np
import onnxruntime
import pytest

from harness.offline import kept_bundle
from slfac.device.front import Front
from slfac.device.provider import TOLERANCE, open_front, self_test
from slfac.wire.bundle import pack_state, write_bundle
from slfac.wire.errors import SettingsError, TrainingError
from slfac.wire.manifest import MANIFEST_NAME
from slfac.wire.providers import CPU, CUDA, Provider

pytestmark = pytest.mark.device

# Binds every tensor as for a GPU, in the only memory that each machine has.
STAND_IN = Provider("cuda", CPU.name, memory="cpu")
# A build without CUDA computes on the CPU, and fails as soon as a tensor is to be elsewhere.
BROKEN = Provider("cuda", CPU.name, memory="cuda")
MISSING = Provider("cuda", "MissingExecutionProvider", memory="cuda")
ACCELERATORS = [STAND_IN]
if CUDA.name in onnxruntime.get_available_providers():
    ACCELERATORS.append(CUDA)


def opened(provider, accelerator, lines=None):
    return open_front(
        kept_bundle(),
        threads=1,
        low_memory=False,
        provider=provider,
        on_status=(lines if lines is not None else []).append,
        accelerator=accelerator,
    )


def step(front, batch, seed):
    rng = np.random.default_rng(seed)
    (z,) = front.forward(rng.normal(size=(batch, 1, 8, 8)).astype(np.float32))
    held = front.held_bytes
    gradients = front.backward([rng.normal(size=z.shape).astype(np.float32)])
    for name, gradient in gradients.items():
        front.parameters[name] -= np.float32(0.1) * gradient
    return {"z": z, **gradients, **{f"new {k}": v.copy() for k, v in front.state().items()}}, held


@pytest.mark.parametrize("accelerator", ACCELERATORS, ids=lambda p: p.name)
@pytest.mark.parametrize("provider", ["cuda", "auto"])
def test_an_accelerator_that_passes_its_test_trains_as_the_cpu_does(provider, accelerator):
    lines = []
    front, on_cpu = opened(provider, accelerator, lines), Front(kept_bundle())
    assert front.provider is accelerator
    assert len(lines) == 1
    assert lines[0].startswith("training on cuda, which agrees with the CPU: error ")
    exact = accelerator is STAND_IN
    for seed, batch in enumerate((1, 3, 32)):
        (given, held), (expected, least) = (step(one, batch, seed) for one in (front, on_cpu))
        assert held == least
        for name, array in expected.items():
            np.testing.assert_allclose(given[name], array, rtol=0 if exact else 1e-4, atol=1e-5)


def test_the_self_test_leaves_no_trace():
    state = kept_bundle().front_state()
    for front in (opened("cuda", STAND_IN), opened("auto", BROKEN)):
        assert {k: v.tobytes() for k, v in front.state().items()} == {
            k: v.tobytes() for k, v in state.items()
        }
        assert front.held_bytes == 0


def test_where_onnxruntime_lacks_it_auto_says_so_and_trains_on_the_cpu():
    lines = []
    assert opened("auto", MISSING, lines).provider is CPU
    (line,) = lines
    assert line.startswith("training on the CPU, not on cuda: onnxruntime ")
    assert "has no MissingExecutionProvider, only" in line


def test_where_onnxruntime_lacks_it_asking_for_it_is_refused():
    with pytest.raises(SettingsError, match=r"setting provider is 'cuda': .*docs/gpu\.md"):
        opened("cuda", MISSING)


def test_an_accelerator_that_fails_is_not_used():
    lines = []
    assert opened("auto", BROKEN, lines).provider is CPU
    assert lines[0].startswith("training on the CPU, not on cuda: onnxruntime failed")
    with pytest.raises(SettingsError, match=r"'cuda': onnxruntime failed.*--provider cpu"):
        opened("cuda", BROKEN)


def test_the_cpu_needs_no_test_and_says_nothing():
    lines = []
    assert opened("cpu", BROKEN, lines).provider is CPU
    assert lines == []


def altered(folder, change):
    """The kept bundle with other weights."""
    kept = kept_bundle()
    files = {name: data for name, data in kept.contents().items() if name != MANIFEST_NAME}
    state = {name: change(value) for name, value in kept.front_state().items()}
    files["front.safetensors"] = pack_state(state)
    return write_bundle(folder, msgspec.structs.replace(kept.manifest), files)


def test_what_an_accelerator_gets_wrong_is_named(tmp_path):
    wrong = Front(altered(tmp_path / "b", lambda value: value * np.float32(1.05)))
    with pytest.raises(TrainingError, match=r"differs from the CPU's by .*, 1e-02 is allowed"):
        self_test(wrong, Front(kept_bundle()), kept_bundle())


def test_what_is_not_finite_fails(tmp_path):
    wrong = Front(altered(tmp_path / "b", lambda value: value * np.float32(np.nan)))
    with pytest.raises(TrainingError, match="by inf of its size"):
        self_test(wrong, Front(kept_bundle()), kept_bundle())


def test_last_bits_pass(tmp_path):
    near = Front(altered(tmp_path / "b", lambda value: value * np.float32(1 + 1e-6)))
    assert 0 < self_test(near, Front(kept_bundle()), kept_bundle()) < TOLERANCE / 100

import tracemalloc

import numpy as np
import pytest

from slfac.device.optim import make_optimizer
from slfac.wire.errors import SettingsError, TrainingError

pytestmark = pytest.mark.device

SPECS = [
    "sgd:lr=0.1",
    "sgd:lr=0.1,momentum=0.9,weight_decay=0.01",
    "adam",
    "adamw",
    "sgd:lr=0.1,clip_norm=1.0",
    "adam:clip_value=0.1",
]


def vector(*values):
    return np.array(values, np.float32)


def run(spec, start, *grads):
    params = {"w": vector(*start)}
    optimizer = make_optimizer(spec)
    for grad in grads:
        optimizer.step(params, {"w": vector(*grad)})
    return params["w"]


def test_sgd_by_hand():
    assert run("sgd:lr=0.5", [1, 2], [1, -1]).tolist() == [0.5, 2.5]
    assert run("sgd:lr=0.5,weight_decay=0.5", [1, 2], [1, -1]).tolist() == [0.25, 2.0]


def test_first_momentum_is_the_gradient():
    # v = 1, then 0.5 * 1 + 2 = 2.5: w = 4 - 1 - 2.5.
    assert run("sgd:lr=1,momentum=0.5", [4], [1], [2]).tolist() == [0.5]


def test_adam_by_hand():
    # Bias correction makes the first step lr * sign(g), whatever the gradient's size.
    out = run("adam:lr=0.1,eps=0", [1, 1, 1], [1e-3, -5, 40])
    np.testing.assert_allclose(out, [0.9, 1.1, 0.9], rtol=1e-6)
    # Second step, g = 1 then 3: m = 0.9 * 0.1 + 0.3, v = 0.999 * 0.001 + 0.009.
    step = 0.1 * (0.39 / 0.19) / np.sqrt(0.009999 / 0.001999)
    np.testing.assert_allclose(run("adam:lr=0.1,eps=0", [1], [1], [3]), [0.9 - step], rtol=1e-6)


def test_clipping_by_hand():
    # A gradient of (3, 4) has the norm 5.
    out = run("sgd:lr=1,clip_norm=1", [0, 0], [3, 4])
    np.testing.assert_allclose(out, [-0.6, -0.8], rtol=1e-6)
    assert run("sgd:lr=1,clip_norm=6", [0, 0], [3, 4]).tolist() == [-3, -4]
    assert run("sgd:lr=1,clip_value=3.5", [0, 0, 0], [3, 4, -9]).tolist() == [-3, -3.5, 3.5]
    # Decay is added behind it.
    decayed = run("sgd:lr=1,clip_norm=1,weight_decay=0.5", [2, 0], [3, 4])
    np.testing.assert_allclose(decayed, [2 - 0.6 - 1, -0.8], rtol=1e-6)


def test_a_norm_that_float32_cannot_hold_is_clipped_all_the_same():
    out = run("sgd:lr=1,clip_norm=1", [0, 0], [3e30, 4e30])
    np.testing.assert_allclose(out, [-0.6, -0.8], rtol=1e-6)
    assert run("sgd:lr=1,clip_norm=1", [0], [0]).tolist() == [0]
    for bad in (np.nan, np.inf):
        assert np.isnan(run("sgd:lr=1,clip_norm=1", [0, 0], [bad, 1])[0])


def test_decay_is_coupled_in_adam_and_decoupled_in_adamw():
    # With no gradient, coupled decay is a gradient of its own: a step of lr; decoupled
    # decay shrinks the weight by lr * weight_decay and Adam then does nothing.
    assert run("adam:lr=0.1,weight_decay=0.5,eps=0", [2], [0])[0] == pytest.approx(1.9, rel=1e-6)
    assert run("adamw:lr=0.1,weight_decay=0.5", [2], [0])[0] == pytest.approx(1.9, rel=1e-6)
    assert run("adamw:lr=0.1,weight_decay=0.25", [2], [0])[0] == pytest.approx(1.95, rel=1e-6)


@pytest.mark.parametrize("spec", SPECS)
def test_a_restored_optimiser_goes_on_bit_for_bit(spec):
    rng = np.random.default_rng(0)
    grads = [{"a": rng.normal(size=(3, 4)).astype(np.float32), "b": vector(1, 2)} for _ in range(9)]
    params = {"a": np.ones((3, 4), np.float32), "b": vector(3, 4)}
    first, second = make_optimizer(spec), make_optimizer(spec)
    for grad in grads[:5]:
        first.step(params, grad)
    saved = first.state()
    second.restore(saved)
    twin = {name: param.copy() for name, param in params.items()}
    for grad in grads[5:]:
        first.step(params, grad)
        second.step(twin, grad)
    for name, param in params.items():
        np.testing.assert_array_equal(param, twin[name])
    assert int(saved["step"]) == 5


@pytest.mark.parametrize("spec", SPECS)
def test_gradients_are_only_read_and_steps_allocate_nothing(spec):
    params = {"a": np.ones((64, 1024), np.float32), "b": np.ones(512, np.float32)}
    grads = {name: np.full_like(param, 0.5) for name, param in params.items()}
    for grad in grads.values():
        grad.flags.writeable = False
    optimizer = make_optimizer(spec)
    optimizer.step(params, grads)
    tracemalloc.start()
    try:
        optimizer.step(params, grads)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # The largest gradient takes 256 kB; NumPy adds up squares through buffers of 64 kB.
    assert peak_bytes < 160 * 1024


@pytest.mark.parametrize("spec", SPECS)
def test_spec_is_canonical(spec):
    optimizer = make_optimizer(spec)
    assert make_optimizer(optimizer.spec).spec == optimizer.spec
    assert optimizer.spec.startswith(spec.partition(":")[0] + ":lr=")
    assert optimizer.spec.endswith(spec.partition("clip")[2])


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("lbfgs", "optimiser is 'lbfgs'"),
        ("sgd:lr=-1", "field lr is -1"),
        ("sgd:lr=nan", "field lr is nan"),
        ("sgd:beta1=0.9", "no field beta1"),
        ("adam:beta1=1", "field beta1 is 1"),
        ("adam:beta2=1", "field beta2 is 1"),
        ("sgd:lr=0.1,lr=0.2", "lr"),
    ],
)
def test_specs_that_make_no_optimiser(spec, words):
    with pytest.raises(SettingsError, match=words):
        make_optimizer(spec)


@pytest.mark.parametrize("lr", [-0.1, float("nan"), float("inf")])
def test_learning_rate_out_of_range(lr):
    with pytest.raises(SettingsError, match="learning rate"):
        make_optimizer("sgd").lr = lr


def test_gradients_that_do_not_fit_are_named_and_nothing_moves():
    params = {"a": vector(1, 2), "b": vector(3)}
    optimizer = make_optimizer("sgd")
    for grads, words in [
        ({"a": vector(1, 1), "c": vector(1)}, "'c' is of no parameter"),
        ({"a": vector(1, 1), "b": vector(1, 2)}, r"'b' is float32 \(2,\)"),
        ({"a": vector(1, 1), "b": np.ones(1)}, "'b' is float64"),
    ]:
        with pytest.raises(TrainingError, match=words):
            optimizer.step(params, grads)
    params["b"].flags.writeable = False
    with pytest.raises(TrainingError, match="not writable"):
        optimizer.step(params, {"a": vector(1, 1), "b": vector(1)})
    assert params["a"].tolist() == [1, 2]
    assert optimizer.steps == 0


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"step": np.array(-1)},
        {"step": np.array([1])},
        {"step": np.array(1), "mean/w": vector(1)},
        {"step": np.array(1), "momentum/w": np.ones(1)},
    ],
)
def test_state_of_another_optimiser_is_refused(state):
    with pytest.raises(TrainingError, match="optimiser state"):
        make_optimizer("sgd:momentum=0.9").restore(state)


def test_state_of_another_shape_is_refused_at_the_step():
    optimizer = make_optimizer("sgd:momentum=0.9")
    optimizer.restore({"step": np.array(1), "momentum/w": vector(1, 2, 3)})
    with pytest.raises(TrainingError, match="momentum/w has shape"):
        optimizer.step({"w": vector(1)}, {"w": vector(1)})

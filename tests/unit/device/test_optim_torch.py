"""The optimisers against torch's, step by step."""

import numpy as np
import pytest
import torch

from slfac.device.optim import make_optimizer

SHAPES = {"conv": (8, 3, 5, 5), "bias": (8,), "scalar": (), "linear": (10, 33)}
CASES = [
    ("sgd:lr=0.05", torch.optim.SGD, {"lr": 0.05}),
    ("sgd:lr=0.05,momentum=0.9", torch.optim.SGD, {"lr": 0.05, "momentum": 0.9}),
    (
        "sgd:lr=0.05,momentum=0.9,weight_decay=5e-4",
        torch.optim.SGD,
        {"lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4},
    ),
    ("sgd:lr=0.1,weight_decay=0.1", torch.optim.SGD, {"lr": 0.1, "weight_decay": 0.1}),
    ("sgd", torch.optim.SGD, {}),
    ("adam", torch.optim.Adam, {}),
    ("adam:lr=0.01,weight_decay=0.1", torch.optim.Adam, {"lr": 0.01, "weight_decay": 0.1}),
    (
        "adam:lr=3e-3,beta1=0.7,beta2=0.9,eps=1e-3",
        torch.optim.Adam,
        {"lr": 3e-3, "betas": (0.7, 0.9), "eps": 1e-3},
    ),
    ("adamw", torch.optim.AdamW, {}),
    ("adamw:lr=0.01,weight_decay=0.3", torch.optim.AdamW, {"lr": 0.01, "weight_decay": 0.3}),
]


def starts():
    rng = np.random.default_rng(0)
    return {k: np.array(rng.normal(size=shape), np.float32) for k, shape in SHAPES.items()}


def gradients(steps):
    rng = np.random.default_rng(1)
    for _ in range(steps):
        yield {
            name: np.array(rng.normal(size=shape) * 10.0 ** rng.integers(-3, 2), np.float32)
            for name, shape in SHAPES.items()
        }


def assert_close(ours, theirs, peaks):
    """Within 1e-6 of the largest value that each tensor has had: a scalar may cross zero."""
    for name, param in theirs.items():
        expected = param.detach().numpy()
        peaks[name] = max(peaks.get(name, 0.0), float(np.abs(expected).max()))
        assert np.abs(ours[name] - expected).max() <= 1e-6 * peaks[name], name


@pytest.mark.parametrize(("spec", "family", "options"), CASES, ids=[case[0] for case in CASES])
def test_follows_torch_for_a_hundred_steps(spec, family, options):
    ours = starts()
    theirs = {name: torch.nn.Parameter(torch.from_numpy(x.copy())) for name, x in ours.items()}
    oracle = family(list(theirs.values()), foreach=False, **options)
    optimizer = make_optimizer(spec)
    peaks = {}
    for step, grads in enumerate(gradients(100)):
        if step == 60:
            optimizer.lr = oracle.param_groups[0]["lr"] = optimizer.lr / 10
        for name, grad in grads.items():
            theirs[name].grad = torch.from_numpy(grad.copy())
        oracle.step()
        optimizer.step(ours, grads)
        assert_close(ours, theirs, peaks)


@pytest.mark.parametrize("family", ["sgd", "adam"])
def test_a_parameter_without_gradient_rests_as_in_torch(family):
    ours = starts()
    theirs = {name: torch.nn.Parameter(torch.from_numpy(x.copy())) for name, x in ours.items()}
    kind, spec, options = {
        "sgd": (torch.optim.SGD, "sgd:momentum=0.9,weight_decay=0.1",
                {"momentum": 0.9, "weight_decay": 0.1}),
        "adam": (torch.optim.Adam, "adam:weight_decay=0.1", {"weight_decay": 0.1}),
    }[family]  # fmt: skip
    oracle = kind(list(theirs.values()), foreach=False, **options)
    optimizer = make_optimizer(spec)
    for grads in gradients(5):
        del grads["bias"]
        for name, grad in grads.items():
            theirs[name].grad = torch.from_numpy(grad.copy())
        oracle.step()
        optimizer.step(ours, grads)
    assert_close(ours, theirs, {})
    np.testing.assert_array_equal(ours["bias"], starts()["bias"])


CLIPS = {
    "clip_norm": torch.nn.utils.clip_grad_norm_,
    "clip_value": torch.nn.utils.clip_grad_value_,
}


@pytest.mark.parametrize("field", CLIPS)
@pytest.mark.parametrize("limit", [1e-3, 1.0, 50.0])
@pytest.mark.parametrize(
    ("spec", "family", "options"),
    [case for case in CASES if "=" in case[0]],
    ids=[case[0] for case in CASES if "=" in case[0]],
)
def test_clipping_follows_torch(spec, family, options, field, limit):
    ours = starts()
    theirs = {name: torch.nn.Parameter(torch.from_numpy(x.copy())) for name, x in ours.items()}
    oracle = family(list(theirs.values()), foreach=False, **options)
    optimizer = make_optimizer(f"{spec},{field}={limit}")
    peaks = {}
    for grads in gradients(40):
        kept = {name: grad.copy() for name, grad in grads.items()}
        for name, grad in grads.items():
            theirs[name].grad = torch.from_numpy(grad.copy())
        CLIPS[field](list(theirs.values()), limit)
        oracle.step()
        optimizer.step(ours, grads)
        assert_close(ours, theirs, peaks)
        for name, grad in grads.items():
            np.testing.assert_array_equal(grad, kept[name])

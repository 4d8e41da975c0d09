"""A model that exists only as ONNX, made by PaddlePaddle: its weights sit in Constant nodes."""

import json
from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

from harness.onnx_files import run, values
from slfac.export.onnx_model import build, read_onnx
from slfac.testbed.finetune.cases import fetch_classifier

pytestmark = pytest.mark.slow

SAMPLE = (3, 48, 192)


@pytest.fixture(scope="module")
def path():
    return fetch_classifier(print)


@pytest.fixture(scope="module")
def read(path):
    return read_onnx(path, input_shape=SAMPLE)


def rebuilt(read):
    """The module that a server makes of what a bundle holds."""
    structure, weights = read
    module = build(json.loads(json.dumps(structure)))
    module.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    return module


@pytest.mark.parametrize("batch", [1, 5])
def test_it_gives_what_onnxruntime_gives(path, read, batch):
    x = values(batch, *SAMPLE, seed=4, scale=0.5)
    with torch.no_grad():
        ours = rebuilt(read).eval()(torch.from_numpy(x)).numpy()
    theirs = run(path, x)
    assert len(np.unique(theirs.round(3))) > 1
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


def test_its_structure_is_that_of_the_file(read):
    structure, weights = read
    ops = Counter(node[0] for node in structure["nodes"])
    assert (ops["Conv"], ops["BatchNormalization"], ops["Clip"]) == (53, 35, 18)
    assert structure["output"] == "softmax_0.tmp_0"
    # Activations' constants are numbers, so every weight is one to train.
    assert min(value.size for value in weights.values()) > 1
    assert all(value.dtype == np.float32 for value in weights.values())
    assert len(json.dumps(structure)) < 40_000
    module = build(structure)
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == 35
    assert {(m.eps, m.momentum) for m in norms} == {(1e-5, 0.1)}


def test_every_tensor_of_the_file_can_be_named_as_a_cut(read):
    module = build(read[0])
    made = [node.meta["cut"] for node in module.graph.nodes if "cut" in node.meta]
    assert made == [name for node in read[0]["nodes"] for name in node[2]]
    assert "elementwise_add_4" in made


def test_gradients_reach_every_weight_and_training_helps(read):
    torch.manual_seed(0)
    module = rebuilt(read).train()
    x = torch.from_numpy(values(8, *SAMPLE, seed=5, scale=0.5))
    target = torch.tensor([0, 1] * 4)
    before = {name: value.clone() for name, value in module.named_buffers()}
    optimiser = torch.optim.SGD(module.parameters(), lr=0.01)
    losses = []
    for _ in range(4):
        optimiser.zero_grad()
        loss = nn.functional.nll_loss(torch.log(module(x).clamp(min=1e-9)), target)
        loss.backward()
        for name, parameter in module.named_parameters():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
            assert parameter.grad.abs().max() > 0, name
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    moved = [name for name, value in module.named_buffers() if not value.equal(before[name])]
    assert len(moved) == 3 * 35

"""Small ONNX files, and what onnxruntime makes of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

from slfac.export.onnx_model import build, read_onnx

IR_VERSION = 8


def values(*shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    """Normal float32 values."""
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def ints(*entries: int) -> np.ndarray:
    return np.array(entries, np.int64)


def model(
    nodes: list[onnx.NodeProto],
    weights: dict[str, np.ndarray],
    shape: tuple[int | str, ...],
    *,
    opset: int = 17,
    outputs: tuple[str, ...] = ("y",),
) -> onnx.ModelProto:
    """A model from ``x`` to ``y``; ``shape`` has the batch axis, a number or a name."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    made.ir_version = max(IR_VERSION, 10 if opset > 20 else 0)
    return made


def write(folder: Path, made: onnx.ModelProto) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(made.SerializeToString())
    return path


def load(path: Path, **kwargs: object) -> tuple[dict, torch.fx.GraphModule]:
    """The structure of a file, and the module in evaluation mode with its weights."""
    structure, weights = read_onnx(path, **kwargs)
    module = build(structure)
    module.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    return structure, module.eval()


def run(path: Path, x: np.ndarray) -> np.ndarray:
    """What onnxruntime gives."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def compare(path: Path, x: np.ndarray, **kwargs: object) -> dict:
    """Check that module and file agree; the structure."""
    structure, module = load(path, **kwargs)
    with torch.no_grad():
        ours = module(torch.from_numpy(x)).numpy()
    theirs = run(path, x)
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * np.abs(theirs).max())
    return structure

"""Evaluates operators on tensors whose values are known: shape arithmetic, and weights.

onnx's reference implementation computes; here is decided what it may compute, and that
nothing hostile makes it allocate much.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from onnx.reference import ReferenceEvaluator

from slfac.export.onnx_model.limits import MAX_RANK, MAX_WEIGHT_VALUES
from slfac.export.onnx_model.node import Node
from slfac.export.onnx_model.shapes import size
from slfac.export.onnx_model.tensors import to_array
from slfac.export.onnx_model.values import PROBES, Known, known

_MAX_GROWN_VALUES = 1 << 24

# These put the same values in other places: a weight stays that weight.
_RELAYOUT = {"Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
_SAME_SIZE = {"Abs", "Ceil", "Exp", "Floor", "Log", "Neg", "Not", "Reciprocal", "Round", "Sqrt"}
_SMALLER = {"ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "Slice", "Split"}
_BROADCAST = {
    "Add",
    "And",
    "Div",
    "Equal",
    "Greater",
    "GreaterOrEqual",
    "Less",
    "LessOrEqual",
    "Max",
    "Min",
    "Mod",
    "Mul",
    "Or",
    "Pow",
    "Sub",
    "Where",
}


def _broadcast(_node: Node, arrays: list[np.ndarray]) -> int:
    return size(np.broadcast_shapes(*(a.shape for a in arrays)))


def _concat(_node: Node, arrays: list[np.ndarray]) -> int:
    return sum(int(a.size) for a in arrays)


def _gather(node: Node, arrays: list[np.ndarray]) -> int:
    data, indices = arrays
    axis = node.axis(node.attribute("axis", 0), data.ndim)
    rest = [int(n) for i, n in enumerate(data.shape) if i != axis]
    return size(rest) * int(indices.size)


def _expand(_node: Node, arrays: list[np.ndarray]) -> int:
    wanted = tuple(int(n) for n in arrays[1].reshape(-1))
    return size(np.broadcast_shapes(arrays[0].shape, wanted))


def _constant_of_shape(_node: Node, arrays: list[np.ndarray]) -> int:
    return size([int(n) for n in arrays[0].reshape(-1)])


def _tile(_node: Node, arrays: list[np.ndarray]) -> int:
    return arrays[0].size * size([int(n) for n in arrays[1].reshape(-1)])


def _range(_node: Node, arrays: list[np.ndarray]) -> int:
    start, limit, step = (float(a.reshape(-1)[0]) for a in arrays)
    return max(0, math.ceil((limit - start) / step))


_GROWING: dict[str, Callable[[Node, list[np.ndarray]], int]] = {
    **dict.fromkeys(_BROADCAST, _broadcast),
    "Concat": _concat,
    "ConstantOfShape": _constant_of_shape,
    "Expand": _expand,
    "Gather": _gather,
    "Range": _range,
    "Tile": _tile,
}
_FOLDED = _RELAYOUT | _SAME_SIZE | _SMALLER | set(_GROWING)


def constant(node: Node) -> Known:
    """What a Constant node holds.

    Args:
        node: The node.

    Returns:
        Its values.

    Raises:
        ExportError: It holds text, sparse values, or something malformed.
    """
    name = node.one_output()
    attributes = node.proto.attribute
    if len(attributes) != 1:
        node.refuse("does not hold exactly one value")
    kind = attributes[0].name
    if kind == "value" and attributes[0].HasField("t"):
        return known(to_array(f"constant {name!r}", attributes[0].t), name)
    if kind in {"value_float", "value_floats"}:
        return known(np.array(node.attribute(kind), np.float32), name)
    if kind in {"value_int", "value_ints"}:
        return known(np.array(node.attribute(kind), np.int64), name)
    return node.refuse(f"holds a {kind}, which no weight can be")


def fold(node: Node) -> list[Known]:
    """Outputs of a node all of whose inputs are known.

    Args:
        node: The node.

    Returns:
        Its outputs, in order.

    Raises:
        ExportError: The operator is none that is evaluated here, or its inputs do not fit.
    """
    if node.op not in _FOLDED:
        node.refuse("works on constants only, and is none that can be computed beforehand")
    inputs = [value for value in node.inputs if isinstance(value, Known)]
    origin = inputs[0].origin if inputs and node.op in _RELAYOUT | {"Expand"} else ""
    same = all(value.constant is not None for value in inputs)
    runs = [_run(node, probe) for probe in range(1 if same else PROBES)]
    return [
        Known(tuple(each) * (PROBES if same else 1), origin or name)
        for name, each in zip(node.outputs, zip(*runs, strict=True), strict=True)
    ]


def _run(node: Node, probe: int) -> list[np.ndarray]:
    """Evaluate for one size of the batch."""
    arrays = [value.arrays[probe] for value in node.inputs if isinstance(value, Known)]
    feeds: dict[str, Any] = {
        name: value.arrays[probe]
        for name, value in zip(node.proto.input, node.inputs, strict=True)
        if isinstance(value, Known)
    }
    try:
        made = _evaluate(node, arrays, feeds)
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise node.refusal(f"cannot be computed from constants: {reason}") from error
    if any(a.ndim > MAX_RANK for a in made) or len(made) != len(node.outputs):
        node.refuse("makes more axes or outputs than expected")
    return made


def _evaluate(
    node: Node, arrays: list[np.ndarray], feeds: dict[str, np.ndarray]
) -> list[np.ndarray]:
    grown = _GROWING[node.op](node, arrays) if node.op in _GROWING else 0
    limit = max(_MAX_GROWN_VALUES, *(a.size for a in arrays))
    if not 0 <= grown <= min(limit, MAX_WEIGHT_VALUES):
        raise ValueError(f"it would make {grown} values")
    with np.errstate(all="ignore"):
        evaluator = ReferenceEvaluator(node.proto, opsets={"": node.opset})
        return [np.asarray(value) for value in evaluator.run(None, feeds)]

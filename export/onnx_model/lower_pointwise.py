"""Pointwise operators of a file as operators of a structure."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto

from slfac.export.onnx_model.lower_layers import Lower
from slfac.export.onnx_model.lowering import Lowering, as_number
from slfac.export.onnx_model.node import Node
from slfac.export.onnx_model.tensors import type_name
from slfac.export.onnx_model.values import Known, Live, Value, known

# What follows these is a bias even where it is a single number.
_LINEAR = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
_FLOAT32 = "export the model in float32 throughout"
_FLOATS = {TensorProto.FLOAT, TensorProto.DOUBLE}


def _same(node: Node, to: Lowering) -> None:
    to.emit(node, node.op, [node.live()])


def _with(**names: tuple[str, Any]) -> Lower:
    """Attributes by our names, each with the file's name and default."""

    def lower(node: Node, to: Lowering) -> None:
        values = {ours: node.attribute(theirs, value) for ours, (theirs, value) in names.items()}
        to.emit(node, node.op, [node.live()], values)

    return lower


def _binary(node: Node, to: Lowering) -> None:
    if len(node.inputs) != 2:
        node.refuse(f"has {len(node.inputs)} inputs")
    to.emit(node, node.op, _operands(node))


def _extreme(node: Node, to: Lowering) -> None:
    to.emit(node, node.op, _operands(node))


def _operands(node: Node) -> list[Value | float | None]:
    """Inputs, where constants of one value are numbers: they are no weights to train."""
    lives = [v for v in node.inputs if isinstance(v, Live)]
    rank = max(v.rank for v in lives)
    bias = node.op == "Add" and any(v.maker in _LINEAR for v in lives)
    operands: list[Value | float | None] = []
    for value in node.inputs:
        number = as_number(value)
        is_scalar = isinstance(value, Known) and value.arrays[0].ndim <= rank
        is_bias = bias and isinstance(value, Known) and value.arrays[0].ndim > 0
        operands.append(number if number is not None and is_scalar and not is_bias else value)
    return operands


def _clip(node: Node, to: Lowering) -> None:
    if node.opset < 11:
        low, high = node.attribute("min"), node.attribute("max")
    else:
        low, high = node.number(1), node.number(2)
    bounds = {"low": _bound(low), "high": _bound(high)}
    if bounds == {"low": None, "high": None}:
        to.alias(node, node.live())
        return
    to.emit(node, "Clip", [node.live()], {k: v for k, v in bounds.items() if v is not None})


def _bound(value: float | None) -> float | None:
    """None for the least and greatest float32, which stand for no bound."""
    return None if value is None or abs(value) >= 3.4028234e38 else value


def _prelu(node: Node, to: Lowering) -> None:
    x, slope, value = node.live(), node.array(1), node.input(1)
    if slope is None or not isinstance(value, Known):
        node.refuse("has no slopes")
    aligned = (1,) * (x.rank - slope.ndim) + slope.shape
    channels = slope.size == 1 or (x.rank >= 2 and aligned[1] == slope.size)
    if channels:
        value = known(slope.reshape(-1), value.origin)
    to.emit(node, "PRelu", [x, value], {"channels": channels})


def _cast(node: Node, to: Lowering) -> None:
    target = node.attribute("to")
    if target not in _FLOATS:
        node.refuse(f"casts activations to {type_name(target or 0)}", _FLOAT32)
    to.alias(node, node.live())


def _cast_like(node: Node, to: Lowering) -> None:
    value, like = node.input(0), node.input(1)
    if isinstance(value, Known):
        value = Known(tuple(a.astype(np.float32) for a in value.arrays), value.origin)
    elif isinstance(like, Known) and like.arrays[0].dtype.kind != "f":
        node.refuse("casts activations to whole numbers", _FLOAT32)
    if value is not None:
        to.alias(node, value)


def _identity(node: Node, to: Lowering) -> None:
    to.alias(node, node.live())


POINTWISE: dict[str, Lower] = {
    **dict.fromkeys(
        (
            *("Abs", "Erf", "Exp", "HardSwish", "Log", "Mish", "Neg", "Reciprocal", "Relu"),
            *("Sigmoid", "Softplus", "Softsign", "Sqrt", "Tanh"),
        ),
        _same,
    ),
    **dict.fromkeys(("Add", "Div", "Mul", "Pow", "Sub"), _binary),
    "Cast": _cast,
    "CastLike": _cast_like,
    "Celu": _with(alpha=("alpha", 1.0)),
    "Clip": _clip,
    "Elu": _with(alpha=("alpha", 1.0)),
    "Gelu": _with(approximate=("approximate", "none")),
    "HardSigmoid": _with(alpha=("alpha", 0.2), beta=("beta", 0.5)),
    "Identity": _identity,
    "LeakyRelu": _with(negative_slope=("alpha", 0.01)),
    "Max": _extreme,
    "Min": _extreme,
    "PRelu": _prelu,
    "Selu": _with(alpha=("alpha", 1.67326319217681884765625), gamma=("gamma", 1.05070102214813232)),
}

"""Operators that work on each value by itself."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.nn import functional

from slfac.export.onnx_model.fields import Field
from slfac.export.onnx_model.functions import (
    extreme,
    general_prelu,
    hard_sigmoid,
    scaled_elu,
)
from slfac.export.onnx_model.table import Call, Op


def _plain(function: Callable[..., Any], inputs: int = 1) -> Op:
    return Op(lambda x, _: Call(function, tuple(x)), (inputs, inputs))


def _with(function: Callable[..., Any], **fields: Field) -> Op:
    """A function of one tensor whose named arguments are the operator's attributes."""
    return Op(lambda x, a: Call(function, (x[0],), dict(a)), (1, 1), fields)


def _clip(x: Any, a: Mapping[str, Any]) -> Call:
    if a["low"] is None and a["high"] is None:
        return Call(operator.pos, (x[0],))
    return Call(torch.clamp, (x[0],), {"min": a["low"], "max": a["high"]})


def _prelu(x: Any, a: Mapping[str, Any]) -> Call:
    return Call(functional.prelu if a["channels"] else general_prelu, tuple(x))


def _extreme(largest: bool) -> Op:
    return Op(lambda x, _: Call(extreme, tuple(x), {"largest": largest}), (1, 64))


_FLOAT = Field("float")

POINTWISE: dict[str, Op] = {
    "Abs": _plain(torch.abs),
    "Add": _plain(torch.add, 2),
    "Celu": _with(functional.celu, alpha=_FLOAT),
    "Clip": Op(
        _clip,
        (1, 1),
        {
            "low": Field("float", None),
            "high": Field("float", None),
        },
    ),
    "Div": _plain(torch.div, 2),
    "Elu": _with(functional.elu, alpha=_FLOAT),
    "Erf": _plain(torch.erf),
    "Exp": _plain(torch.exp),
    "Gelu": _with(functional.gelu, approximate=Field("choice", choices=("none", "tanh"))),
    "HardSigmoid": _with(hard_sigmoid, alpha=_FLOAT, beta=_FLOAT),
    "HardSwish": _plain(functional.hardswish),
    "LeakyRelu": _with(functional.leaky_relu, negative_slope=_FLOAT),
    "Log": _plain(torch.log),
    "Max": _extreme(largest=True),
    "Min": _extreme(largest=False),
    "Mish": _plain(functional.mish),
    "Mul": _plain(torch.mul, 2),
    "Neg": _plain(torch.neg),
    "PRelu": Op(_prelu, (2, 2), {"channels": Field("bool")}),
    "Pow": _plain(torch.pow, 2),
    "Reciprocal": _plain(torch.reciprocal),
    "Relu": _plain(functional.relu),
    "Selu": _with(scaled_elu, alpha=_FLOAT, gamma=_FLOAT),
    "Sigmoid": _plain(torch.sigmoid),
    "Softplus": _plain(functional.softplus),
    "Softsign": _plain(functional.softsign),
    "Sqrt": _plain(torch.sqrt),
    "Sub": _plain(torch.sub, 2),
    "Tanh": _plain(torch.tanh),
}

"""Convolutions, poolings, normalisations and matrix products."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional

from slfac.export.onnx_model.fields import Field
from slfac.export.onnx_model.functions import (
    flat_softmax,
    gemm,
    padded_avg_pool,
    padded_conv,
    padded_max_pool,
)
from slfac.export.onnx_model.table import Call, Op, Translate

_CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d}
_TRANSPOSED = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d}
_MAX_POOLS = {1: functional.max_pool1d, 2: functional.max_pool2d}
_AVG_POOLS = {1: functional.avg_pool1d, 2: functional.avg_pool2d}

_SIZES = Field("ints", low=1, high=1 << 16, most=2)
_PADS = Field("ints", low=0, high=1 << 16, most=4)
_AXES = Field("ints", low=0, high=7)


def _optional(inputs: Sequence[Any], index: int) -> Any:
    return inputs[index] if index < len(inputs) else None


def _symmetric(pads: Sequence[int]) -> list[int] | None:
    """Pads of each axis where both ends have the same, else None."""
    half = len(pads) // 2
    return list(pads[:half]) if pads[:half] == pads[half:] else None


# Operators on tensors without storage leave some checks out; the functions below stand for them.


def _check_conv(x: Sequence[Any], a: Mapping[str, Any]) -> None:
    _check_convolution(x, a, transposed=False)


def _check_conv_transpose(x: Sequence[Any], a: Mapping[str, Any]) -> None:
    _check_convolution(x, a, transposed=True)
    rooms = zip(a["extra"], a["strides"], a["dilations"], strict=True)
    if any(extra >= max(stride, dilation) for extra, stride, dilation in rooms):
        raise ValueError(f"output padding {a['extra']} is not below strides and dilations")


def _check_convolution(x: Sequence[Any], a: Mapping[str, Any], *, transposed: bool) -> None:
    """Shapes of input, weight and bias, and lengths of lists."""
    axes, groups = len(a["strides"]), a["groups"]
    source, weight, bias = tuple(x[0].shape), tuple(x[1].shape), _optional(x, 2)
    lengths = (len(a["dilations"]), len(a["pads"]) // (1 if transposed else 2))
    if not 1 <= axes <= 2 or lengths != (axes, axes) or {len(source), len(weight)} != {axes + 2}:
        raise ValueError(f"weight {weight} and input {source} do not have {axes} spatial axes")
    into = weight[0] if transposed else weight[1] * groups
    out = weight[1] * groups if transposed else weight[0]
    if into != source[1] or weight[0] % groups:
        raise ValueError(f"weight {weight} does not take {source[1]} channels in {groups} groups")
    if bias is not None and tuple(bias.shape) != (out,):
        raise ValueError(f"bias {tuple(bias.shape)} is not one value for each of {out} channels")


def _conv(x: Sequence[Any], a: Mapping[str, Any]) -> Call:
    symmetric = _symmetric(a["pads"])
    bias = _optional(x, 2)
    if symmetric is None:
        return Call(padded_conv, (x[0], x[1], bias), dict(a))
    args = (x[0], x[1], bias, a["strides"], symmetric, a["dilations"], a["groups"])
    return Call(_CONVOLUTIONS[len(a["strides"])], args)


def _conv_transpose(x: Sequence[Any], a: Mapping[str, Any]) -> Call:
    extra, groups, dilations = a["extra"], a["groups"], a["dilations"]
    args = (x[0], x[1], _optional(x, 2), a["strides"], a["pads"], extra, groups, dilations)
    return Call(_TRANSPOSED[len(a["strides"])], args)


def _max_pool(x: Sequence[Any], a: Mapping[str, Any]) -> Call:
    symmetric = _symmetric(a["pads"])
    if symmetric is None or any(2 * p > k for p, k in zip(symmetric, a["kernel"], strict=True)):
        return Call(padded_max_pool, (x[0],), {k: v for k, v in a.items() if k != "ceil"})
    args = (x[0], a["kernel"], a["strides"], symmetric, a["dilations"], a["ceil"])
    return Call(_MAX_POOLS[len(a["kernel"])], args)


def _average_pool(x: Sequence[Any], a: Mapping[str, Any]) -> Call:
    """Through torch's own where it can; ``counted`` is given where it cannot."""
    if a["counted"] is not None:
        names = ("kernel", "strides", "pads", "counted")
        return Call(padded_avg_pool, (x[0],), {name: a[name] for name in names})
    half = len(a["pads"]) // 2
    args = (x[0], a["kernel"], a["strides"], a["pads"][:half], a["ceil"], a["include"])
    return Call(_AVG_POOLS[len(a["kernel"])], args)


def _check_gemm(x: Sequence[Any], a: Mapping[str, Any]) -> None:
    bias = _optional(x, 2)
    if a["linear"] and bias is not None and tuple(bias.shape) != tuple(x[1].shape[:1]):
        raise ValueError(f"bias {tuple(bias.shape)} does not fit weight {tuple(x[1].shape)}")


def _gemm(x: Sequence[Any], a: Mapping[str, Any]) -> Call:
    c = _optional(x, 2)
    if a["linear"]:
        return Call(functional.linear, (x[0], x[1], c))
    return Call(gemm, (x[0], x[1], c), {"alpha": a["alpha"], "beta": a["beta"], "flip": a["flip"]})


def _instance_norm(x: Sequence[Any], a: Mapping[str, Any]) -> Call:
    kwargs = {"weight": x[1], "bias": x[2], "eps": a["eps"]}
    return Call(functional.instance_norm, (x[0],), kwargs)


def _group_norm(x: Sequence[Any], a: Mapping[str, Any]) -> Call:
    return Call(functional.group_norm, (x[0], a["groups"], x[1], x[2], a["eps"]))


def _layer_norm(x: Sequence[Any], a: Mapping[str, Any]) -> Call:
    args = (x[0], a["shape"], _optional(x, 1), _optional(x, 2), a["eps"])
    return Call(functional.layer_norm, args)


def _batch_norm(x: Sequence[Any], a: Mapping[str, Any]) -> Call:
    weight, bias, mean, variance = x[1:]
    args = (x[0], mean, variance, weight, bias, False, a["momentum"], a["eps"])
    return Call(functional.batch_norm, args)


def _dropout(x: Sequence[Any], a: Mapping[str, Any]) -> Call:
    return Call(functional.dropout, (x[0], a["p"], False))


def _check_softmax(x: Sequence[Any], a: Mapping[str, Any]) -> None:
    if a["axis"] >= x[0].dim():
        raise ValueError(f"there is no axis {a['axis']} in {tuple(x[0].shape)}")


def _check_batch_norm(x: Sequence[Any], _: Mapping[str, Any]) -> None:
    if any(tuple(weight.shape) != (x[0].shape[1],) for weight in x[1:]):
        raise ValueError(f"its weights are not one value for each of {x[0].shape[1]} channels")


def _softmax(log: bool) -> Translate:
    whole = functional.log_softmax if log else functional.softmax

    def translate(x: Sequence[Any], a: Mapping[str, Any]) -> Call:
        if a["flat"]:
            return Call(flat_softmax, (x[0], a["axis"], log))
        return Call(whole, (x[0], a["axis"]))

    return translate


def _reduce(function: Callable[..., Any]) -> Op:
    fields = {"axes": _AXES, "keep": Field("bool")}
    return Op(lambda x, a: Call(function, (x[0], a["axes"], a["keep"])), (1, 1), fields)


_EPS = Field("float", low=1e-30)
_WINDOW = {"strides": _SIZES, "pads": _PADS, "dilations": _SIZES}
_GROUPS = Field("int", 1, low=1, high=1 << 16)
_SOFTMAX = {"axis": Field("int", low=0, high=7), "flat": Field("bool", default=False)}

LAYERS: dict[str, Op] = {
    "AveragePool": Op(
        _average_pool,
        (1, 1),
        {
            "kernel": _SIZES,
            "strides": _SIZES,
            "pads": _PADS,
            "ceil": Field("bool", default=False),
            "include": Field("bool", default=False),
            "counted": Field("ints", None, low=0, high=1 << 16, most=4),
        },
    ),
    "BatchNormalization": Op(
        _batch_norm,
        (5, 5),
        {"eps": _EPS, "momentum": Field("float")},
        module="BatchNorm",
        check=_check_batch_norm,
    ),
    "Conv": Op(_conv, (2, 3), {**_WINDOW, "groups": _GROUPS}, check=_check_conv),
    "ConvTranspose": Op(
        _conv_transpose,
        (2, 3),
        {**_WINDOW, "groups": _GROUPS, "extra": Field("ints", low=0, high=1 << 16, most=2)},
        check=_check_conv_transpose,
    ),
    "Dropout": Op(_dropout, (1, 1), {"p": Field("float")}, module="Dropout"),
    "Gemm": Op(
        _gemm,
        (2, 3),
        {
            "linear": Field("bool", default=False),
            "alpha": Field("float", 1.0),
            "beta": Field("float", 1.0),
            "flip": Field("ints", [0, 0], low=0, high=1, most=2),
        },
        check=_check_gemm,
    ),
    "GroupNormalization": Op(_group_norm, (3, 3), {"groups": _GROUPS, "eps": _EPS}),
    "InstanceNormalization": Op(_instance_norm, (3, 3), {"eps": _EPS}),
    "LayerNormalization": Op(_layer_norm, (1, 3), {"shape": Field("ints", low=1), "eps": _EPS}),
    "LogSoftmax": Op(_softmax(log=True), (1, 1), _SOFTMAX, check=_check_softmax),
    "MatMul": Op(lambda x, _: Call(torch.matmul, tuple(x)), (2, 2)),
    "MaxPool": Op(
        _max_pool, (1, 1), {**_WINDOW, "kernel": _SIZES, "ceil": Field("bool", default=False)}
    ),
    "ReduceMax": _reduce(torch.amax),
    "ReduceMean": _reduce(torch.mean),
    "ReduceMin": _reduce(torch.amin),
    "ReduceSum": _reduce(torch.sum),
    "Softmax": Op(_softmax(log=False), (1, 1), _SOFTMAX, check=_check_softmax),
}

"""Operators that move, repeat or choose values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional

from slfac.export.onnx_model.fields import Field
from slfac.export.onnx_model.functions import (
    depth_to_space,
    norm_l2,
    repeat_concat,
    strided_slice,
    take,
    unsqueeze,
)
from slfac.export.onnx_model.table import Call, Op

_AXIS = Field("int", low=0, high=7)
_AXES = Field("ints", low=0, high=7)
_SHAPE = Field("ints", low=-1)
_MANY = 1 << 16


def _concat(x: Sequence[Any], a: Mapping[str, Any]) -> Call:
    if a["repeat"]:
        return Call(repeat_concat, tuple(x), {"axis": a["axis"], "repeat": a["repeat"]})
    return Call(torch.cat, (list(x), a["axis"]))


def _pad(x: Sequence[Any], a: Mapping[str, Any]) -> Call:
    value = a["value"] if a["mode"] == "constant" else None
    return Call(functional.pad, (x[0], a["pads"], a["mode"], value))


def _resize(x: Sequence[Any], a: Mapping[str, Any]) -> Call:
    mode, linear = a["mode"], a["mode"] == "linear"
    if linear:
        mode = "linear" if len(a["sizes"]) == 1 else "bilinear"
    kwargs = {
        "size": a["sizes"],
        "mode": mode,
        "align_corners": a["align_corners"] if linear else None,
    }
    return Call(functional.interpolate, (x[0],), kwargs)


def _depth_to_space(x: Sequence[Any], a: Mapping[str, Any]) -> Call:
    function = functional.pixel_shuffle if a["mode"] == "CRD" else depth_to_space
    return Call(function, (x[0], a["block"]))


SHAPE: dict[str, Op] = {
    "Concat": Op(
        _concat, (1, 4096), {"axis": _AXIS, "repeat": Field("ints", [], low=0, most=4096)}
    ),
    "DepthToSpace": Op(
        _depth_to_space,
        (1, 1),
        {"block": Field("int", low=1, high=256), "mode": Field("choice", choices=("CRD", "DCR"))},
    ),
    "Expand": Op(
        lambda x, a: Call(torch.Tensor.expand, (x[0], a["shape"])), (1, 1), {"shape": _SHAPE}
    ),
    "Flatten": Op(lambda x, a: Call(torch.flatten, (x[0], a["axis"])), (1, 1), {"axis": _AXIS}),
    "Gather": Op(
        lambda x, a: Call(take, (x[0], a["axis"], a["indices"])),
        (1, 1),
        {"axis": _AXIS, "indices": Field("ints", low=0, most=4096)},
    ),
    "Pad": Op(
        _pad,
        (1, 1),
        {
            "pads": Field("ints", low=-_MANY, high=_MANY, most=16),
            "mode": Field("choice", choices=("constant", "reflect", "replicate")),
            "value": Field("float", 0.0),
        },
    ),
    "ReduceL2": Op(
        lambda x, a: Call(norm_l2, (x[0], a["axes"], a["keep"])),
        (1, 1),
        {"axes": _AXES, "keep": Field("bool")},
    ),
    "Reshape": Op(lambda x, a: Call(torch.reshape, (x[0], a["shape"])), (1, 1), {"shape": _SHAPE}),
    "Resize": Op(
        _resize,
        (1, 1),
        {
            "sizes": Field("ints", low=1, high=_MANY, most=2),
            "mode": Field("choice", choices=("nearest", "nearest-exact", "linear")),
            "align_corners": Field("bool", default=False),
        },
    ),
    "Select": Op(
        lambda x, a: Call(torch.select, (x[0], a["axis"], a["index"])),
        (1, 1),
        {"axis": _AXIS, "index": Field("int", low=0)},
    ),
    "Slice": Op(
        lambda x, a: Call(strided_slice, (x[0], a["ranges"])),
        (1, 1),
        {"ranges": Field("ints", low=0, most=32)},
    ),
    "Split": Op(
        lambda x, a: Call(torch.split, (x[0], a["sizes"], a["axis"])),
        (1, 1),
        {"axis": _AXIS, "sizes": Field("ints", low=0, most=4096)},
        many=True,
    ),
    "Squeeze": Op(
        lambda x, a: Call(torch.squeeze, (x[0], tuple(a["axes"]))), (1, 1), {"axes": _AXES}
    ),
    "Transpose": Op(lambda x, a: Call(torch.permute, (x[0], a["axes"])), (1, 1), {"axes": _AXES}),
    "Unsqueeze": Op(lambda x, a: Call(unsqueeze, (x[0], a["axes"])), (1, 1), {"axes": _AXES}),
}

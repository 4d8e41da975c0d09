"""Convolutions, poolings and matrix products of a file as operators of a structure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from slfac.export.onnx_model.lowering import Lowering
from slfac.export.onnx_model.node import Node
from slfac.export.onnx_model.values import Known, known
from slfac.export.onnx_model.windows import Window, read_window

Lower = Callable[[Node, Lowering], None]


def _kernel(node: Node) -> list[int]:
    weight = node.array(1)
    if weight is None or weight.ndim not in {3, 4}:
        node.refuse("has no weight of one or two spatial axes")
    return list(weight.shape[2:])


def _conv(node: Node, to: Lowering) -> None:
    kernel = _kernel(node)
    window = read_window(node, node.live(), kernel)
    if window.kernel != kernel:
        node.refuse(f"has kernel_shape {window.kernel}, but a weight of {kernel}")
    attributes = {
        "strides": window.strides,
        "pads": window.pads,
        "dilations": window.dilations,
        "groups": node.attribute("group", 1),
    }
    to.emit(node, "Conv", [v for v in node.inputs if v is not None], attributes)


def _conv_transpose(node: Node, to: Lowering) -> None:
    if node.attribute("output_shape") is not None or node.attribute("auto_pad", "NOTSET") not in {
        "NOTSET",
        "VALID",
    }:
        node.refuse("is given by the shape of its output", "export it with explicit pads")
    window = read_window(node, node.live(), _kernel(node))
    rank = len(window.kernel)
    if window.pads[:rank] != window.pads[rank:]:
        node.refuse(f"has different pads at both ends, {window.pads}")
    attributes = {
        "strides": window.strides,
        "pads": window.pads[:rank],
        "dilations": window.dilations,
        "groups": node.attribute("group", 1),
        "extra": list(node.attribute("output_padding", [0] * rank)),
    }
    to.emit(node, "ConvTranspose", [v for v in node.inputs if v is not None], attributes)


def _plain(window: Window) -> bool:
    """Whether torch's own pooling takes these pads."""
    rank = len(window.kernel)
    begin, end = window.pads[:rank], window.pads[rank:]
    return begin == end and all(2 * p <= k for p, k in zip(begin, window.kernel, strict=True))


def _max_pool(node: Node, to: Lowering) -> None:
    if any(node.outputs[1:]):
        node.refuse("gives indices too")
    window = read_window(node, node.live(), None)
    pads, ceil = window.pads, window.ceil
    if ceil and not _plain(window):
        rank = len(window.kernel)
        ends = zip(pads[rank:], window.overhang, strict=True)
        pads, ceil = pads[:rank] + [end + more for end, more in ends], False
    attributes = {
        "kernel": window.kernel,
        "strides": window.strides,
        "pads": pads,
        "dilations": window.dilations,
        "ceil": ceil,
    }
    to.emit(node, "MaxPool", [node.live()], attributes)


def _average_pool(node: Node, to: Lowering) -> None:
    window = read_window(node, node.live(), None)
    if max(window.dilations) > 1:
        node.refuse(f"has dilations {window.dilations}")
    include = bool(node.attribute("count_include_pad", 0))
    rank, pads = len(window.kernel), window.pads
    attributes: dict[str, Any] = {
        "kernel": window.kernel,
        "strides": window.strides,
        "pads": pads,
    }
    if _plain(window):
        attributes |= {"ceil": window.ceil, "include": include}
    else:
        ends = [end + more for end, more in zip(pads[rank:], window.overhang, strict=True)]
        attributes["pads"] = pads[:rank] + ends
        attributes["counted"] = pads if include else [0] * len(pads)
    to.emit(node, "AveragePool", [node.live()], attributes)


def _global_pool(op: str) -> Lower:
    def lower(node: Node, to: Lowering) -> None:
        axes = list(range(2, node.live().rank))
        to.emit(node, op, [node.live()], {"axes": axes, "keep": True})

    return lower


def _gemm(node: Node, to: Lowering) -> None:
    alpha, beta = node.attribute("alpha", 1.0), node.attribute("beta", 1.0)
    flip = [int(bool(node.attribute(name, 0))) for name in ("transA", "transB")]
    a, b, c = (node.input(i) for i in range(3))
    bias = c.constant if isinstance(c, Known) else None
    if isinstance(c, Known) and bias is not None and bias.ndim == 2 and bias.shape[0] == 1:
        c = known(bias[0], c.origin)  # so that it is torch's own layer
    simple = isinstance(b, Known) and flip == [0, 1] and alpha == beta == 1
    width = b.constant.shape[:1] if isinstance(b, Known) and b.constant is not None else ()
    if simple and (c is None or (isinstance(c, Known) and c.arrays[0].shape == width)):
        to.emit(node, "Gemm", [a, b, *([] if c is None else [c])], {"linear": True})
        return
    attributes = {"alpha": alpha, "beta": beta, "flip": flip}
    to.emit(node, "Gemm", [a, b, *([] if c is None else [c])], attributes)


def _matmul(node: Node, to: Lowering) -> None:
    to.emit(node, "MatMul", node.inputs)


def _softmax(node: Node, to: Lowering) -> None:
    x = node.live()
    axis = node.axis(node.attribute("axis", 1 if node.opset < 13 else -1), x.rank)
    rest = np.prod([1, *x.shapes[0][axis + 1 :]])
    flat = node.opset < 13 and rest != 1
    to.emit(node, node.op, [x], {"axis": axis, "flat": bool(flat)})


def _reduce(node: Node, to: Lowering) -> None:
    x = node.live()
    before = 13 if node.op == "ReduceSum" else 18
    axes = node.ints(1, "axes", before)
    if not axes and node.attribute("noop_with_empty_axes", 0):
        to.alias(node, x)
        return
    chosen = sorted({node.axis(axis, x.rank) for axis in axes or range(x.rank)})
    to.emit(node, node.op, [x], {"axes": chosen, "keep": bool(node.attribute("keepdims", 1))})


LAYERS: dict[str, Lower] = {
    "AveragePool": _average_pool,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_pool("ReduceMean"),
    "GlobalMaxPool": _global_pool("ReduceMax"),
    "LogSoftmax": _softmax,
    "MatMul": _matmul,
    "MaxPool": _max_pool,
    "ReduceL2": _reduce,
    "ReduceMax": _reduce,
    "ReduceMean": _reduce,
    "ReduceMin": _reduce,
    "ReduceSum": _reduce,
    "Softmax": _softmax,
}

"""Operators of a file that move values, as operators of a structure.

Whatever names the batch size is rewritten so that any batch passes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from slfac.export.onnx_model.lower_layers import Lower
from slfac.export.onnx_model.lowering import Lowering
from slfac.export.onnx_model.node import Node
from slfac.export.onnx_model.values import PROBES, Known, Live

_BATCH = "mixes samples of a batch"
_REMEDY = "export the model with a dynamic batch axis"
_FAR = 1 << 31


def shape_of(node: Node) -> Known:
    """The result of Shape or Size, which is known though its input may not be."""
    value = node.inputs[0]
    shapes = value.shapes if isinstance(value, Live) else None
    if shapes is None:
        assert isinstance(value, Known)  # noqa: S101 - an input is never absent here
        shapes = tuple(a.shape for a in value.arrays)
    if node.op == "Size":
        arrays = tuple(np.array(math.prod(shape), np.int64) for shape in shapes)
    else:
        part = slice(node.attribute("start", 0), node.attribute("end"))
        arrays = tuple(np.array(shape[part], np.int64) for shape in shapes)
    return Known(arrays, node.one_output())


def _reshape(node: Node, to: Lowering) -> None:
    x, target = node.live(), node.input(1)
    if not isinstance(target, Known):
        node.refuse("has a target that depends on the input's values")
    zeros = bool(node.attribute("allowzero", 0))
    wanted = [[int(n) for n in array.reshape(-1)] for array in target.arrays]
    _emit_reshape(node, to, x, wanted, zeros=zeros, fixed=target.constant is not None)


def _emit_reshape(
    node: Node, to: Lowering, x: Live, wanted: list[list[int]], *, zeros: bool, fixed: bool
) -> None:
    """Reshape with what follows the batch as -1.

    A file that fixes the batch names it in its targets, as the first size.
    """
    varies = len(set(x.shapes)) > 1
    if fixed and varies and to.batch is not None:
        first = _resolve(node, x.shapes[0], wanted[0], zeros)
        if not first or first[0] % to.batch:
            node.refuse(_BATCH, _REMEDY)
        to.emit(node, "Reshape", [x], {"shape": [-1, *first[1:]]})
        return
    resolved = [_resolve(node, x.shapes[k], wanted[k], zeros) for k in range(PROBES)]
    to.emit(node, "Reshape", [x], {"shape": _merge(node, resolved)})


def _resolve(node: Node, shape: Sequence[int], target: Sequence[int], zeros: bool) -> list[int]:
    """A target with its zeros and its -1 as numbers, for one size of the batch."""
    sizes = list(target)
    for i, n in enumerate(sizes):
        if n == 0 and not zeros:
            if i >= len(shape):
                node.refuse(f"has the target {target} for an input with {len(shape)} axes")
            sizes[i] = shape[i]
    rest = math.prod(n for n in sizes if n != -1)
    total = math.prod(shape)
    if sizes.count(-1) == 1 and rest > 0 and total % rest == 0:
        sizes[sizes.index(-1)] = total // rest
    if min(sizes, default=0) < 1 or math.prod(sizes) != total:
        node.refuse(f"has the target {target} for an input of {list(shape)}", _REMEDY)
    return sizes


def _merge(node: Node, resolved: Sequence[Sequence[int]]) -> list[int]:
    """One target for every batch: -1 where the sizes differ."""
    if len({len(sizes) for sizes in resolved}) != 1:
        node.refuse(_BATCH, _REMEDY)
    merged = [each[0] if len(set(each)) == 1 else -1 for each in zip(*resolved, strict=True)]
    if merged.count(-1) > 1:
        node.refuse(_BATCH, _REMEDY)
    return merged


def _flatten(node: Node, to: Lowering) -> None:
    x = node.live()
    axis = node.attribute("axis", 1)
    if axis != x.rank:
        axis = node.axis(axis, x.rank)
    if axis == 1:
        to.emit(node, "Flatten", [x], {"axis": 1})
        return
    wanted = [[math.prod(s[:axis]), math.prod(s[axis:])] for s in x.shapes]
    _emit_reshape(node, to, x, wanted, zeros=True, fixed=False)


def _transpose(node: Node, to: Lowering) -> None:
    x = node.live()
    axes = [node.axis(a, x.rank) for a in node.attribute("perm", list(range(x.rank))[::-1])]
    if sorted(axes) != list(range(x.rank)):
        node.refuse(f"has perm {axes} for an input with {x.rank} axes")
    to.emit(node, "Transpose", [x], {"axes": axes})


def _squeeze(node: Node, to: Lowering) -> None:
    x = node.live()
    axes = node.ints(1, "axes", 13)
    if axes is None:
        axes = [i for i in range(x.rank) if x.shapes[0][i] == 1]
    axes = sorted({node.axis(a, x.rank) for a in axes})
    if any(x.static(a) != 1 for a in axes):
        node.refuse(f"removes axes {axes} of {list(x.shapes[1])}, not all of size 1", _REMEDY)
    to.emit(node, "Squeeze", [x], {"axes": axes})


def _unsqueeze(node: Node, to: Lowering) -> None:
    x = node.live()
    axes = node.ints(1, "axes", 13) or []
    rank = x.rank + len(axes)
    to.emit(node, "Unsqueeze", [x], {"axes": sorted(node.axis(a, rank) for a in axes)})


def _expand(node: Node, to: Lowering) -> None:
    x, target = node.live(), node.input(1)
    if not isinstance(target, Known):
        node.refuse("has a target that depends on the input's values")
    wanted = [[int(n) for n in array.reshape(-1)] for array in target.arrays]
    rank = max(x.rank, len(wanted[0]))
    old = [[1] * (rank - x.rank) + list(shape) for shape in x.shapes]
    new = [[1] * (rank - len(sizes)) + sizes for sizes in wanted]
    entries: list[int] = []
    for axis in range(rank):
        pairs = {(own[axis], sizes[axis]) for own, sizes in zip(old, new, strict=True)}
        if axis >= rank - x.rank and all(size in {1, own} for own, size in pairs):
            entries.append(-1)
        elif len(pairs) == 1 and min(pairs)[0] == 1:
            entries.append(min(pairs)[1])
        else:
            node.refuse(_BATCH, _REMEDY)
    to.emit(node, "Expand", [x], {"shape": entries})


def _concat(node: Node, to: Lowering) -> None:
    rank = max(v.rank for v in node.inputs if isinstance(v, Live))
    axis = node.axis(node.attribute("axis", 1), rank)
    repeat = [
        i
        for i, v in enumerate(node.inputs)
        if axis and isinstance(v, Known) and v.arrays[0].ndim == rank and v.arrays[0].shape[0] == 1
    ]
    varies = any(isinstance(v, Live) and v.static(0) is None for v in node.inputs)
    to.emit(node, "Concat", node.inputs, {"axis": axis, "repeat": repeat if varies else []})


def _split(node: Node, to: Lowering) -> None:
    x = node.live()
    axis = node.axis(node.attribute("axis", 0), x.rank)
    size, parts = x.static(axis), len(node.outputs)
    if size is None:
        node.refuse(_BATCH, _REMEDY)
    sizes = node.ints(1, "split", 13)
    if sizes is None:
        each = -(-size // parts)
        sizes = [max(0, min(each, size - i * each)) for i in range(parts)]
    if len(sizes) != parts or min(sizes) < 0 or sum(sizes) != size or not all(node.outputs):
        node.refuse(f"splits {size} into {sizes} for {parts} outputs")
    to.emit(node, "Split", [x], {"axis": axis, "sizes": sizes}, outputs=node.outputs)


def _slice(node: Node, to: Lowering) -> None:
    x = node.live()
    starts, ends = node.ints(1, "starts", 10), node.ints(2, "ends", 10)
    axes = node.ints(3, "axes", 10)
    steps = node.ints(4, "steps", 10) if node.opset >= 10 else None
    if starts is None or ends is None:
        node.refuse("lacks starts or ends")
    axes = list(range(len(starts))) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        node.refuse(f"has starts {starts}, ends {ends}, axes {axes} and steps {steps}")
    ranges: list[int] = []
    reverse: list[tuple[int, list[int]]] = []
    for start, end, entry, step in zip(starts, ends, axes, steps, strict=True):
        axis = node.axis(entry, x.rank)
        size = x.static(axis)
        if size is None:
            if start != 0 or end < _FAR - 1 or step != 1:
                node.refuse(_BATCH, _REMEDY)
            continue
        places = range(*slice(start, end, step).indices(size))
        if not places:
            node.refuse(f"takes nothing of axis {axis}")
        if step < 0:
            reverse.append((axis, list(places)))
        else:
            ranges += [axis, places.start, places.stop, step]
    if reverse and (ranges or len(reverse) > 1):
        node.refuse("runs backwards along one axis and slices another")
    if reverse:
        axis, indices = reverse[0]
        to.emit(node, "Gather", [x], {"axis": axis, "indices": indices})
    else:
        to.emit(node, "Slice", [x], {"ranges": ranges})


def _gather(node: Node, to: Lowering) -> None:
    x, indices = node.input(0), node.array(1)
    if not isinstance(x, Live) or indices is None:
        node.refuse("looks up constants by the input's values")
    axis = node.axis(node.attribute("axis", 0), x.rank)
    size = x.static(axis)
    if size is None:
        node.refuse(_BATCH, _REMEDY)
    if indices.ndim > 1 or not 1 <= indices.size <= 4096 or indices.dtype.kind not in "iu":
        node.refuse(f"takes indices of shape {list(indices.shape)}")
    places = [int(i) for i in indices.reshape(-1)]
    if not all(-size <= i < size for i in places):
        node.refuse(f"takes places beyond the {size} of axis {axis}")
    places = [i % size for i in places]
    if indices.ndim:
        to.emit(node, "Gather", [x], {"axis": axis, "indices": places})
    else:
        to.emit(node, "Select", [x], {"axis": axis, "index": places[0]})


def _pad(node: Node, to: Lowering) -> None:
    x = node.live()
    pads = node.ints(1, "pads", 11) or []
    axes = node.ints(3, "axes", 0) if node.opset >= 18 else None
    value = node.number(2) if node.opset >= 11 else node.attribute("value", 0.0)
    axes = [node.axis(a, x.rank) for a in axes] if axes is not None else list(range(x.rank))
    if len(pads) != 2 * len(axes) or len(set(axes)) != len(axes):
        node.refuse(f"has {len(pads)} pads for {len(axes)} axes")
    before, after = [0] * x.rank, [0] * x.rank
    for i, axis in enumerate(axes):
        before[axis], after[axis] = pads[i], pads[i + len(axes)]
    if before[0] or after[0]:
        node.refuse(_BATCH, _REMEDY)
    modes = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}
    mode = modes.get(node.attribute("mode", "constant"))
    skipped = 1 if mode == "constant" else 2
    if mode is None or any(before[:skipped] + after[:skipped]) or not max(map(abs, pads)):
        node.refuse(f"pads {pads} in mode {node.attribute('mode', 'constant')!r}")
    ends = [n for axis in range(x.rank - 1, skipped - 1, -1) for n in (before[axis], after[axis])]
    to.emit(node, "Pad", [x], {"pads": ends, "mode": mode, "value": value or 0.0})


def _depth_to_space(node: Node, to: Lowering) -> None:
    mode = node.attribute("mode", "DCR")
    to.emit(node, node.op, [node.live()], {"block": node.attribute("blocksize"), "mode": mode})


SHAPE: dict[str, Lower] = {
    "Concat": _concat,
    "DepthToSpace": _depth_to_space,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Pad": _pad,
    "Reshape": _reshape,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}

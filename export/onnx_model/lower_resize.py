"""Resize and Upsample of a file, where torch has the same interpolation.

ONNX places the values of the output in the input by a formula that a file chooses. torch
has three: the places of both are computed and compared, so that only equal ones pass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from slfac.export.onnx_model.lower_layers import Lower
from slfac.export.onnx_model.lowering import Lowering
from slfac.export.onnx_model.node import Node
from slfac.export.onnx_model.values import Known
from slfac.export.onnx_model.windows import spatial

_REMEDY = "use nearest or linear resizing of torch, or cut the model before it"
_MAX_SIZE = 1 << 16


@dataclass(frozen=True)
class _Axis:
    """Sizes and scale of one axis."""

    old: int
    new: int
    scale: float

    def places(self, mode: str) -> np.ndarray | None:
        """Where the output's values lie in the input, by a coordinate mode of ONNX."""
        i = np.arange(self.new, dtype=np.float64)
        if mode == "asymmetric":
            return i / self.scale
        if mode == "align_corners":
            return i * (self.old - 1) / max(1, self.new - 1)
        if mode == "pytorch_half_pixel" and self.new == 1:
            return np.zeros(1)
        if mode in {"half_pixel", "pytorch_half_pixel"}:
            return (i + 0.5) / self.scale - 0.5
        if mode == "half_pixel_symmetric":
            shift = self.old / 2 * (1 - self.new / (self.scale * self.old))
            return shift + (i + 0.5) / self.scale - 0.5
        return None


_ROUND: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


def _resize(node: Node, to: Lowering) -> None:
    x = node.live()
    old = spatial(node, x)
    axes = [_Axis(o, n, s) for o, (n, s) in zip(old, _targets(node, old), strict=True)]
    if any(not 1 <= axis.new <= _MAX_SIZE for axis in axes):
        node.refuse(f"has the result {[axis.new for axis in axes]}")
    early = node.op == "Upsample" or node.opset < 11
    coordinates = node.attribute(
        "coordinate_transformation_mode", "asymmetric" if early else "half_pixel"
    )
    if node.attribute("antialias", 0):
        node.refuse("smooths before it shrinks", _REMEDY)
    attributes: dict[str, Any] = {"sizes": [axis.new for axis in axes]}
    mode = node.attribute("mode", "nearest")
    if mode == "nearest":
        rounding = node.attribute("nearest_mode", "floor" if early else "round_prefer_floor")
        attributes |= {"mode": _nearest(node, axes, coordinates, rounding)}
    elif mode in {"linear", "bilinear"}:
        corners = _align_corners(node, axes, coordinates)
        attributes |= {"mode": "linear", "align_corners": corners}
    else:
        node.refuse(f"has the mode {mode!r}", _REMEDY)
    to.emit(node, "Resize", [x], attributes)


def _targets(node: Node, old: list[int]) -> list[tuple[int, float]]:
    """New size and scale of each spatial axis; the other axes must stay."""
    shapes = node.live().shapes
    if (
        node.attribute("axes") is not None
        or node.attribute("keep_aspect_ratio_policy", "stretch") != "stretch"
    ):
        node.refuse("names axes or an aspect ratio", _REMEDY)
    sizes = node.input(3) if node.opset >= 11 and node.op == "Resize" else None
    if isinstance(sizes, Known):
        wanted = [[int(n) for n in array.reshape(-1)] for array in sizes.arrays]
        if _keeps(wanted, shapes) or _keeps(wanted[:1], shapes[:1]):
            return [(new, new / o) for o, new in zip(old, wanted[0][2:], strict=True)]
        node.refuse(f"resizes {list(shapes[0])} to {wanted[0]}", _REMEDY)
    scales = _scales(node)
    if len(scales) != len(old) + 2 or scales[:2] != [1.0, 1.0] or min(scales) <= 0:
        node.refuse(f"has the scales {scales}", _REMEDY)
    if max(scales) > _MAX_SIZE:
        node.refuse(f"has the scales {scales}")
    return [(int(np.floor(o * s)), s) for o, s in zip(old, scales[2:], strict=True)]


def _keeps(wanted: list[list[int]], shapes: tuple[tuple[int, ...], ...]) -> bool:
    """Whether target shapes leave batch and channels as they are."""
    return all(
        len(w) == len(shape) and w[:2] == list(shape[:2])
        for w, shape in zip(wanted, shapes, strict=True)
    )


def _scales(node: Node) -> list[float]:
    if node.op == "Upsample" and node.opset < 9:
        return list(node.attribute("scales", []))
    array = node.array(1 if node.op == "Upsample" or node.opset < 11 else 2)
    if array is None or array.ndim != 1 or array.size > 8 or array.dtype.kind != "f":
        node.refuse("has neither sizes nor scales")
    return [float(value) for value in array]


def _nearest(node: Node, axes: list[_Axis], coordinates: str, rounding: str) -> str:
    """Torch's mode that takes the same values."""
    ours = [_taken(axis, axis.places(coordinates), rounding) for axis in axes]
    plain = [_taken(axis, np.arange(axis.new) * axis.old / axis.new, "floor") for axis in axes]
    exact = [
        _taken(axis, (np.arange(axis.new) + 0.5) * axis.old / axis.new, "floor") for axis in axes
    ]
    for name, theirs in (("nearest", plain), ("nearest-exact", exact)):
        if all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True)):
            return name
    return node.refuse(f"takes the nearest values by {coordinates} and {rounding}", _REMEDY)


def _taken(axis: _Axis, places: np.ndarray | None, rounding: str) -> np.ndarray:
    if places is None or rounding not in _ROUND:
        return np.empty(0)
    # One division may fall a rounding error short of a whole number, which float32 hides.
    clipped: np.ndarray = np.clip(_ROUND[rounding](places.round(6)), 0, axis.old - 1)
    return clipped


def _align_corners(node: Node, axes: list[_Axis], coordinates: str) -> bool:
    """Which of torch's two linear interpolations takes the same places."""
    for corners in (False, True):
        mode = "align_corners" if corners else "half_pixel"
        if all(_same_places(axis, coordinates, mode) for axis in axes):
            return corners
    return node.refuse(f"interpolates by {coordinates}, which torch has not", _REMEDY)


def _same_places(axis: _Axis, coordinates: str, mode: str) -> bool:
    ours = axis.places(coordinates)
    theirs = _Axis(axis.old, axis.new, axis.new / axis.old).places(mode)
    if ours is None or theirs is None:
        return False
    last = axis.old - 1
    return bool(np.allclose(np.clip(ours, 0, last), np.clip(theirs, 0, last), rtol=0, atol=1e-6))


RESIZE: dict[str, Lower] = {"Resize": _resize, "Upsample": _resize}

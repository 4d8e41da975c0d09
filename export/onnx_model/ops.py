"""The table of every operator that a structure may name."""

from __future__ import annotations

from slfac.export.onnx_model.ops_layers import LAYERS
from slfac.export.onnx_model.ops_pointwise import POINTWISE
from slfac.export.onnx_model.ops_shape import SHAPE
from slfac.export.onnx_model.table import Op

OPS: dict[str, Op] = {**LAYERS, **POINTWISE, **SHAPE}

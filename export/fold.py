"""Folds a graph that only ever evaluates: constants, and BatchNorm into convolutions."""

from __future__ import annotations

import onnx
import onnx_ir
from onnxscript.optimizer import optimize

# Of a constant that folding may read or make. Weights are far larger than the optimiser's
# own limits, and one that is used transposed is to be stored so.
_LIMIT_BYTES = 1 << 31


def fold(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Compute what does not depend on the input, and fold BatchNorm.

    Args:
        proto: A graph in evaluation mode, its weights inside; it is not changed.

    Returns:
        The folded graph. BatchNorm stays where it follows no convolution, as in DenseNet.
    """
    model = onnx_ir.from_proto(proto)
    optimize(model, input_size_limit=_LIMIT_BYTES, output_size_limit=_LIMIT_BYTES)
    return onnx_ir.to_proto(model)

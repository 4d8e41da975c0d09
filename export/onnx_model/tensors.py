"""NumPy arrays of an ONNX file's tensors, checked before they are made."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto

from slfac.export.onnx_model.limits import MAX_RANK, MAX_WEIGHT_VALUES
from slfac.export.onnx_model.shapes import size
from slfac.wire.errors import ExportError

_BYTES: dict[int, int] = {
    TensorProto.FLOAT: 4,
    TensorProto.DOUBLE: 8,
    TensorProto.FLOAT16: 2,
    TensorProto.INT64: 8,
    TensorProto.INT32: 4,
    TensorProto.BOOL: 1,
}
_TYPED: dict[int, str] = {
    TensorProto.FLOAT: "float_data",
    TensorProto.DOUBLE: "double_data",
    TensorProto.FLOAT16: "int32_data",
    TensorProto.INT64: "int64_data",
    TensorProto.INT32: "int32_data",
    TensorProto.BOOL: "int32_data",
}


def expected_bytes(where: str, tensor: TensorProto) -> int:
    """Bytes of a tensor's values by its type and shape.

    Args:
        where: Which tensor, for messages.
        tensor: Any tensor of a file.

    Returns:
        The bytes, which may be 0.

    Raises:
        ExportError: Its type or its shape is none that a weight may have.
    """
    if tensor.data_type not in _BYTES:
        raise ExportError(
            f"{where} has values of type {type_name(tensor.data_type)}",
            "give the float32 model",
        )
    dims = list(tensor.dims)
    if len(dims) > MAX_RANK or any(n < 0 for n in dims) or size(dims) > MAX_WEIGHT_VALUES:
        raise ExportError(f"{where} has the shape {dims[:MAX_RANK]}", "export the model again")
    return size(dims) * _BYTES[tensor.data_type]


def to_array(where: str, tensor: TensorProto) -> np.ndarray:
    """Values of a tensor.

    Args:
        where: Which tensor, for messages.
        tensor: A tensor whose values are in the file.

    Returns:
        An array of its type, which owns its values or is read-only.

    Raises:
        ExportError: It has another count of values than its shape says.
    """
    length = expected_bytes(where, tensor)
    count = length // _BYTES[tensor.data_type]
    if tensor.HasField("raw_data"):
        fits = len(tensor.raw_data) == length
    else:
        fits = len(getattr(tensor, _TYPED[tensor.data_type])) == count
    if not fits:
        raise ExportError(f"{where} holds another count of values than its shape says")
    try:
        return onnx.numpy_helper.to_array(tensor)
    except Exception as error:
        raise ExportError(f"{where} cannot be read: {error}") from error


def type_name(data_type: int) -> str:
    """Name of a type, such as FLOAT16, or its number."""
    known: dict[int, str] = {number: name for name, number in TensorProto.DataType.items()}
    return known.get(data_type, str(data_type))

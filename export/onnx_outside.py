"""Initializers whose values are not in the graph, but given when it is opened."""

from __future__ import annotations

import onnx

from slfac.wire.runtime import INJECTED_LOCATION


def stored_outside(value: onnx.ValueInfoProto) -> onnx.TensorProto:
    """An initializer of a value's name and type, without its data.

    Args:
        value: A float input of fixed shape.

    Returns:
        The initializer that takes its place.
    """
    kind = value.type.tensor_type
    tensor = onnx.TensorProto(name=value.name, data_type=kind.elem_type)
    tensor.dims.extend(dim.dim_value for dim in kind.shape.dim)
    store_outside(tensor)
    return tensor


def store_outside(tensor: onnx.TensorProto) -> None:
    """Take an initializer's data out of the graph.

    Args:
        tensor: The initializer; it is changed.
    """
    for field in ("raw_data", "float_data", "int64_data"):
        tensor.ClearField(field)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.ClearField("external_data")
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", INJECTED_LOCATION

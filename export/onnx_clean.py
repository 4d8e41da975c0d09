"""Makes ONNX graphs reproducible: no paths, no dates, no symbols named by a counter."""

from __future__ import annotations

import onnx

from slfac.export.to_onnx import IR_VERSION

_PRODUCER = "slfac"
_BATCH_NAME = "batch"


def clean(model: onnx.ModelProto) -> onnx.ModelProto:
    """Strip whatever a graph does not need to run.

    Stack traces with file paths, documentation strings, types of inner values and the
    exporter's own notes go; the batch axis is named ``batch``.

    Args:
        model: Any graph of ours; it is not changed.

    Returns:
        The stripped copy, of the IR version that the oldest supported onnxruntime reads.
    """
    source = model.graph
    graph = onnx.helper.make_graph(
        [_clean_node(node) for node in source.node],
        _PRODUCER,
        [_clean_value(value, source) for value in source.input],
        [_clean_value(value, source) for value in source.output],
        [_clean_tensor(tensor) for tensor in source.initializer],
    )
    opsets = [opset for opset in model.opset_import if opset.domain == ""]
    cleaned = onnx.helper.make_model(graph, opset_imports=opsets, producer_name=_PRODUCER)
    cleaned.ir_version = IR_VERSION
    return cleaned


def to_bytes(model: onnx.ModelProto) -> bytes:
    """Serialise a graph; equal graphs give equal bytes.

    Args:
        model: A cleaned graph.

    Returns:
        The file's bytes.
    """
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _clean_node(node: onnx.NodeProto) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.ClearField("doc_string")
    copy.ClearField("metadata_props")
    return copy


def _clean_tensor(tensor: onnx.TensorProto) -> onnx.TensorProto:
    copy = onnx.TensorProto()
    copy.CopyFrom(tensor)
    copy.ClearField("doc_string")
    copy.ClearField("metadata_props")
    return copy


def _clean_value(value: onnx.ValueInfoProto, graph: onnx.GraphProto) -> onnx.ValueInfoProto:
    """The value's type, with the counter-named batch symbol of ``x`` renamed."""
    symbol = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    copy = onnx.ValueInfoProto(name=value.name)
    copy.type.CopyFrom(value.type)
    for dim in copy.type.tensor_type.shape.dim:
        if dim.dim_param == symbol:
            dim.dim_param = _BATCH_NAME
        elif dim.dim_param:
            dim.ClearField("value")
    return copy

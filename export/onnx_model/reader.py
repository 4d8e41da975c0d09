"""Reads an ONNX file into a structure and weights, and proves that they do what it does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import GraphProto, ModelProto, TensorProto, TensorShapeProto, ValueInfoProto

from slfac.export.onnx_model.fold import constant, fold
from slfac.export.onnx_model.limits import MAX_INPUT_VALUES, MAX_NAME_CHARACTERS
from slfac.export.onnx_model.load import load_model
from slfac.export.onnx_model.lower_layers import LAYERS, Lower
from slfac.export.onnx_model.lower_norms import NORMS
from slfac.export.onnx_model.lower_pointwise import POINTWISE
from slfac.export.onnx_model.lower_resize import RESIZE
from slfac.export.onnx_model.lower_shape import SHAPE, shape_of
from slfac.export.onnx_model.lowering import Lowering
from slfac.export.onnx_model.node import Node
from slfac.export.onnx_model.proof import prove
from slfac.export.onnx_model.shapes import size
from slfac.export.onnx_model.structure import VERSION
from slfac.export.onnx_model.tensors import to_array, type_name
from slfac.export.onnx_model.values import Known, Live, known
from slfac.wire.errors import ExportError

_LOWER: dict[str, Lower] = {**LAYERS, **NORMS, **POINTWISE, **RESIZE, **SHAPE}


def read_onnx(
    path: Path, *, input_shape: tuple[int, ...] | None = None
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read a model that exists only as ONNX.

    Shape arithmetic is computed, constants of a single value become numbers, operators that
    change nothing go, and the batch axis becomes free where the file fixes it. At the end
    the module that :func:`slfac.export.onnx_model.build` makes is compared with the file in
    onnxruntime.

    Args:
        path: The file, of opset 7 to 22. Weights may be initializers, Constant nodes, or
            lie in files beside it.
        input_shape: Shape of one sample; needed where the file leaves an axis open.

    Returns:
        The structure as JSON values (:mod:`slfac.export.onnx_model.structure`), and
        float32 weights by the names that the built module has.

    Raises:
        ExportError: The file is missing, malformed, too new, or holds what cannot be
            trained here; or the module does not give what onnxruntime gives.
    """
    path = Path(path)
    model, opset = load_model(path)
    graph = model.graph
    constants = _initializers(path, graph)
    entry = _only_input(path, graph, set(constants))
    batch, shape = _input_shape(path, entry, input_shape)
    names = {name for node in graph.node for name in [*node.input, *node.output]} | {entry.name}
    if max(map(len, names)) > MAX_NAME_CHARACTERS:
        raise ExportError(f"{path} has a name of more than {MAX_NAME_CHARACTERS} characters")
    lowering = Lowering(batch, _live_names(graph, entry.name))
    lowering.values.update(constants)
    lowering.add_input(entry.name, shape)
    try:
        _lower(graph, lowering, opset)
        structure = _structure(graph, lowering, entry.name, shape)
    except ExportError as error:
        raise ExportError(f"{path}: {error.what}", error.remedy) from error
    prove(path, _runnable(path, model, entry), structure, lowering.weights, batch)
    return structure, lowering.weights


def _initializers(path: Path, graph: GraphProto) -> dict[str, Known]:
    if graph.sparse_initializer:
        raise ExportError(f"{path} has sparse weights", "export it with dense ones")
    return {
        tensor.name: known(to_array(f"{path}: weight {tensor.name!r}", tensor), tensor.name)
        for tensor in graph.initializer
    }


def _only_input(path: Path, graph: GraphProto, constants: set[str]) -> ValueInfoProto:
    entries = [entry for entry in graph.input if entry.name not in constants]
    if len(entries) != 1:
        names = ", ".join(entry.name for entry in entries[:8]) or "none"
        raise ExportError(
            f"{path} has {len(entries)} inputs ({names})", "give a model of exactly one input"
        )
    if len(graph.output) != 1:
        names = ", ".join(entry.name for entry in graph.output[:8])
        raise ExportError(
            f"{path} has {len(graph.output)} outputs ({names})",
            "keep one of them with onnx.utils.extract_model",
        )
    kind = entries[0].type.tensor_type.elem_type
    if kind != TensorProto.FLOAT:
        raise ExportError(
            f"{path}: input {entries[0].name!r} is of type {type_name(kind)}",
            "give a model whose input is float32",
        )
    only: ValueInfoProto = entries[0]
    return only


def _input_shape(
    path: Path, entry: ValueInfoProto, given: tuple[int, ...] | None
) -> tuple[int | None, tuple[int, ...]]:
    """The batch size that the file fixes, if it does, and the shape of one sample."""
    where = f"{path}: input {entry.name!r}"
    kind = entry.type.tensor_type
    dims = [d.dim_value if d.dim_value > 0 else None for d in kind.shape.dim]
    said = "x".join("?" if n is None else str(n) for n in dims)
    sample = said.partition("x")[2]
    if len(dims) < 2 or len(dims) > 5:
        raise ExportError(
            f"{where} has the shape {said or 'of one number'}", "give the samples' shape"
        )
    if given is None and None in dims[1:]:
        raise ExportError(
            f"{where} has the shape {said}: {_open_axes(kind.shape)}",
            f"give the shape of one sample: --input {sample}, with numbers",
        )
    shape = tuple(n or 0 for n in dims[1:]) if given is None else tuple(given)
    fits = len(shape) == len(dims) - 1 and all(
        n in {None, m} for n, m in zip(dims[1:], shape, strict=True)
    )
    if not fits:
        wanted = "x".join(map(str, shape))
        raise ExportError(
            f"{where} has the shape {said}, not a batch of {wanted}",
            f"give --input {sample}" + (", with numbers" if "?" in sample else ", or leave it out"),
        )
    if any(n < 1 for n in shape) or size(shape) > MAX_INPUT_VALUES or (dims[0] or 0) > 4096:
        raise ExportError(f"{where} has the shape {said}, which is too large")
    return dims[0], shape


def _open_axes(shape: TensorShapeProto) -> str:
    """Which axes behind the batch a file leaves open, and what it calls them."""
    axes = [
        f"{axis} ({dim.dim_param[:40]!r})" if dim.dim_param else str(axis)
        for axis, dim in enumerate(shape.dim)
        if axis > 0 and dim.dim_value <= 0
    ]
    listed = " and ".join(filter(None, [", ".join(axes[:-1]), axes[-1]]))
    return f"axis {listed} is open" if len(axes) == 1 else f"axes {listed} are open"


def _runnable(path: Path, model: ModelProto, entry: ValueInfoProto) -> str | bytes:
    """What onnxruntime runs: the file, or the model in memory where sizes of zero would stop it.

    Some exporters write zero for an axis that is open; onnxruntime takes it at its word.
    """
    entries = [entry, *model.graph.output]
    dims = [dim for each in entries for dim in each.type.tensor_type.shape.dim]
    zeros = [dim for dim in dims if dim.HasField("dim_value") and dim.dim_value == 0]
    if not zeros:
        return str(path)
    for dim in zeros:
        dim.Clear()
    del model.graph.value_info[:]
    return bytes(model.SerializeToString())


def _live_names(graph: GraphProto, name: str) -> set[str]:
    """The input, and every tensor that depends on it."""
    live = {name}
    for node in graph.node:
        if not live.isdisjoint(node.input):
            live.update(node.output)
    return live


def _lower(graph: GraphProto, lowering: Lowering, opset: int) -> None:
    for proto in graph.node:
        missing = [name for name in proto.input if name and name not in lowering.values]
        inputs = [lowering.values.get(name) if name else None for name in proto.input]
        node = Node(proto, inputs, opset)
        if missing:
            node.refuse(f"takes {missing[0]!r}, which no earlier node makes", "export it again")
        if node.op == "Constant":
            lowering.alias(node, constant(node))
        elif node.op in {"Shape", "Size"} and inputs and inputs[0] is not None:
            lowering.alias(node, shape_of(node))
        elif not any(isinstance(value, Live) for value in inputs):
            lowering.values.update(zip(node.outputs, fold(node), strict=True))
        elif node.op in _LOWER:
            _LOWER[node.op](node, lowering)
        else:
            node.refuse(
                "is an operator that cannot be trained here",
                "replace it by operators of docs/onnx.md, or cut the model before it",
            )


def _structure(
    graph: GraphProto, lowering: Lowering, name: str, shape: tuple[int, ...]
) -> dict[str, Any]:
    output = lowering.values.get(graph.output[0].name)
    if not isinstance(output, Live) or not output.maker:
        raise ExportError(f"output {graph.output[0].name!r} does not depend on the input")
    return {
        "version": VERSION,
        "input": {"name": name, "shape": list(shape)},
        "output": output.name,
        "weights": {key: list(value.shape) for key, value in lowering.weights.items()},
        "nodes": lowering.nodes,
    }

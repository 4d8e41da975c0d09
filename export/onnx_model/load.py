"""Opens an ONNX file and refuses, in one sentence, what cannot be turned into a module."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import GraphProto, ModelProto

from slfac.export.onnx_model.external import embed_external_data
from slfac.export.onnx_model.limits import MAX_NODES, MAX_WEIGHT_VALUES
from slfac.wire.errors import ExportError

LEAST_OPSET, MOST_OPSET = 7, 22
_MAX_FILE_BYTES = 4 * MAX_WEIGHT_VALUES + (64 << 20)
_CONTROL_FLOW = {"If", "Loop", "Scan", "SequenceMap"}
_QUANTISED = {
    "ConvInteger",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "MatMulInteger",
    "QLinearConv",
    "QLinearMatMul",
    "QuantizeLinear",
}


def load_model(path: Path) -> tuple[ModelProto, int]:
    """Read a file whose graph is sound by ONNX's own rules.

    Args:
        path: The file. Weights beside it are read too.

    Returns:
        The model, its weights embedded and dead nodes dropped, and its opset.

    Raises:
        ExportError: The file cannot be read, is no ONNX, is too new or too old, or holds
            what no module of ours can be: control flow, quantisation, foreign operators.
    """
    model = _parse(path)
    opset = _check_versions(path, model)
    if model.functions:
        raise ExportError(
            f"{path} defines functions of its own",
            "inline them first with onnx.inliner.inline_local_functions",
        )
    _drop_dead_nodes(path, model.graph)
    if len(model.graph.node) > MAX_NODES:
        raise ExportError(f"{path} has more than {MAX_NODES} operators")
    _check_operators(path, model.graph)
    embed_external_data(path, model.graph)
    for entry in model.graph.output:
        # onnx's checker wants a shape that onnxruntime does without.
        entry.type.tensor_type.shape.SetInParent()
    try:
        onnx.checker.check_model(model)
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise ExportError(f"{path} breaks ONNX's rules: {reason}", "export it again") from error
    return model, opset


def _parse(path: Path) -> ModelProto:
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise ExportError(f"{path} is larger than {_MAX_FILE_BYTES >> 20} MiB")
        data = path.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise ExportError(f"{path} cannot be read: {reason}", "name an .onnx file") from error
    model = ModelProto()
    try:
        model.ParseFromString(data)
    except Exception as error:
        raise ExportError(
            f"{path} is not an ONNX file, or was cut short", "export or copy it again"
        ) from error
    if not model.ir_version or not model.graph.node:
        raise ExportError(f"{path} is not an ONNX file: it holds no graph", "name an .onnx file")
    return model


def _check_versions(path: Path, model: ModelProto) -> int:
    if model.ir_version > onnx.IR_VERSION:
        raise ExportError(
            f"{path} has IR version {model.ir_version}; this onnx {onnx.__version__} "
            f"knows {onnx.IR_VERSION}",
            "upgrade onnx, or export the file in an older version",
        )
    versions = [entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}]
    if len(versions) != 1 or not LEAST_OPSET <= versions[0] <= MOST_OPSET:
        found = " and ".join(map(str, versions)) or "none"
        raise ExportError(
            f"{path} has opset {found}",
            f"convert it with onnx.version_converter to one from {LEAST_OPSET} to {MOST_OPSET}",
        )
    return int(versions[0])


def _drop_dead_nodes(path: Path, graph: GraphProto) -> None:
    """Keep what the outputs need; nodes stay in their order."""
    made = [(name, i) for i, node in enumerate(graph.node) for name in node.output if name]
    makers = dict(made)
    twice = next((name for name, i in reversed(made) if makers[name] != i), None)
    if twice is not None:
        raise ExportError(f"{path} has two nodes that make {twice!r}", "export it again")
    needed: set[int] = set()
    waiting = [entry.name for entry in graph.output]
    while waiting:
        index = makers.get(waiting.pop())
        if index is not None and index not in needed:
            needed.add(index)
            waiting.extend(graph.node[index].input)
    if not needed:
        raise ExportError(f"{path} has no operator that makes its output", "export it again")
    kept = [graph.node[i] for i in sorted(needed)]
    if len(kept) != len(graph.node):
        copies = GraphProto()
        copies.node.extend(kept)
        del graph.node[:]
        graph.node.extend(copies.node)


def _check_operators(path: Path, graph: GraphProto) -> None:
    for node in graph.node:
        where = f"{path}: node {node.name or (node.output[0] if node.output else '')!r}"
        if node.domain not in {"", "ai.onnx"}:
            raise ExportError(
                f"{where} is {node.op_type} of the custom domain {node.domain!r}",
                "export the model with standard ONNX operators, without fusing it for a runtime",
            )
        if node.op_type in _QUANTISED:
            raise ExportError(
                f"{where} is {node.op_type}: the model is quantised", "give the float32 model"
            )
        if node.op_type in _CONTROL_FLOW:
            raise ExportError(
                f"{where} is {node.op_type}: control flow cannot be cut",
                "export the model with fixed shapes, or simplify the file with onnxsim",
            )

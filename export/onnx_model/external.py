"""Weights that an ONNX file keeps in files beside it, read with care for where they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from onnx import GraphProto, TensorProto

from slfac.export.onnx_model.limits import MAX_WEIGHT_VALUES
from slfac.export.onnx_model.tensors import expected_bytes
from slfac.wire.errors import ExportError

_REMEDY = "put the data file beside the .onnx file, as it was exported"


def embed_external_data(path: Path, graph: GraphProto) -> None:
    """Replace references to other files by the values there.

    Args:
        path: The ONNX file; only files of its folder are read.
        graph: Its graph, which is changed.

    Raises:
        ExportError: A file is missing, lies outside the folder, or is too short.
    """
    total = 0
    for tensor in _tensors(graph):
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        total += expected_bytes(f"{path}: {tensor.name!r}", tensor)
        if total > 4 * MAX_WEIGHT_VALUES:
            raise ExportError(f"{path} has more than {4 * MAX_WEIGHT_VALUES} bytes of weights")
        data = _read(path, tensor)
        tensor.ClearField("external_data")
        tensor.data_location = TensorProto.DEFAULT
        tensor.raw_data = data


def _tensors(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t


def _read(path: Path, tensor: TensorProto) -> bytes:
    where = f"{path}: weight {tensor.name!r}"
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    folder = path.parent.resolve()
    try:
        file = (folder / location).resolve()
        inside = file != folder and file.is_relative_to(folder) and not Path(location).is_absolute()
    except (OSError, ValueError, RuntimeError):
        inside = False
    if not inside:
        raise ExportError(f"{where} lies in {location[:120]!r}, outside the file's folder", _REMEDY)
    length = expected_bytes(where, tensor)
    try:
        offset = int(entries.get("offset", "0"))
        named = int(entries.get("length", str(length)))
    except ValueError as error:
        raise ExportError(f"{where} has a malformed place in {location!r}", _REMEDY) from error
    if offset < 0 or named != length:
        raise ExportError(f"{where} takes {named} bytes, but its shape needs {length}", _REMEDY)
    try:
        with file.open("rb") as stream:
            stream.seek(offset)
            data = stream.read(length)
    except (OSError, OverflowError, ValueError) as error:
        raise ExportError(f"{where} lies in {location!r}, which cannot be read", _REMEDY) from error
    if len(data) != length:
        raise ExportError(f"{where} lies in {location!r}, which is too short", _REMEDY)
    return bytes(data)

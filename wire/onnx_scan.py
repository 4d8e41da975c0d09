"""Finds tensors of an ONNX file whose values lie outside it, without the onnx package.

onnxruntime reads such values from wherever the file says: another path, and for one
special location an address of this process's memory. So a graph from the network is
searched for them before it is opened. Numbers are those of ``onnx.proto``.
"""

from __future__ import annotations

from collections.abc import Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_DEPTH = 64
# Message -> field number -> message within, for every way from a model to a tensor.
_WITHIN = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {
        5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse",
    },
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}  # fmt: skip
_DATA_LOCATION = 14
_ENTRY_VALUE = 2


def external_locations(data: bytes) -> set[str]:
    """Where the tensors of an ONNX file say that their values lie.

    Args:
        data: The file, from anywhere.

    Returns:
        Each value of ``external_data``, whatever its key, and an empty string for a tensor
        that is marked as external without an entry; nothing for a file that is whole in
        itself.

    Raises:
        ValueError: The bytes are no protobuf message.
    """
    return set(_walk(memoryview(data), "model", 0))


def _walk(data: memoryview, kind: str, depth: int) -> Iterator[str]:
    if depth > _MAX_DEPTH:
        raise ValueError("messages are nested too deep")
    within = _WITHIN[kind]
    external, entries = False, 0
    for number, value in _fields(data):
        inner = within.get(number)
        if not isinstance(value, memoryview):
            external |= kind == "tensor" and number == _DATA_LOCATION and value != 0
        elif inner == "entry":
            entries += 1
            yield _value(value)
        elif inner is not None:
            yield from _walk(value, inner, depth + 1)
    if external and not entries:
        yield ""


def _value(entry: memoryview) -> str:
    values = [value for number, value in _fields(entry) if number == _ENTRY_VALUE]
    return b"".join(value for value in values if isinstance(value, memoryview)).decode()


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        wire_type = tag & 7
        value: memoryview | int = 0
        if wire_type == _VARINT:
            value, at = _varint(data, at)
        elif wire_type in (_FIXED64, _FIXED32):
            at += 8 if wire_type == _FIXED64 else 4
        elif wire_type == _BYTES:
            length, at = _varint(data, at)
            value = data[at : at + length]
            at += length
        else:
            raise ValueError(f"wire type {wire_type} is not in use")
        if at > len(data):
            raise ValueError("a field ends beyond its message")
        yield tag >> 3, value


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError("a number ends beyond its message")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number is too long")

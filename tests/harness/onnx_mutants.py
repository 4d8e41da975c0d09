"""Damaged ONNX models and structures: each is named by a number, to be seen again."""

from __future__ import annotations

import copy
import random
from typing import Any

import onnx

from slfac.export.onnx_model.ops import OPS

_EXTREMES = (-(2**63), -(2**31), -1, 0, 1, 2, 3, 7, 1 << 16, 2**31 - 1, 2**31, 2**40, 2**63 - 1)
_OPS = sorted({*OPS, "Tile", "Range", "ConstantOfShape", "Expand", "Resize", "If", "Shape"})


def mutant_model(sound: onnx.ModelProto, number: int) -> bytes:
    """A model that still parses, with one to three fields of its graph changed."""
    rng = random.Random(number)
    made = onnx.ModelProto()
    made.CopyFrom(sound)
    for _ in range(rng.choice((1, 1, 2, 3))):
        rng.choice((_change_attribute, _change_op, _change_input, _change_weight))(made.graph, rng)
    return made.SerializeToString()


def mutant_structure(sound: dict[str, Any], number: int) -> Any:
    """A structure with one to three of its JSON values changed."""
    rng = random.Random(number)
    made: Any = copy.deepcopy(sound)
    for _ in range(rng.choice((1, 1, 2, 3))):
        place: Any = made
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = rng.choice(keys)
            if isinstance(place[key], dict | list) and rng.random() < 0.85:
                place = place[key]
                continue
            place[key] = _other(place[key], rng)
            break
    return made


def _other(value: Any, rng: random.Random) -> Any:
    if isinstance(value, str) and rng.random() < 0.7:
        return rng.choice((*_OPS, "x", "w", "bn.weight", "training", "forward", "a'b", ""))
    if isinstance(value, list) and value and rng.random() < 0.7:
        return rng.choice((value[:-1], value + value, value[::-1]))
    return rng.choice((*_EXTREMES, None, True, 0.5, float("nan"), 1e308, "x", [], {}, [1, 2]))


def _change_attribute(graph: onnx.GraphProto, rng: random.Random) -> None:
    nodes = [node for node in graph.node if node.attribute]
    attribute = rng.choice(rng.choice(nodes).attribute)
    if attribute.ints:
        attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice(_EXTREMES)
        if rng.random() < 0.2:
            attribute.ints.append(1)
    else:
        attribute.i = rng.choice(_EXTREMES)
        attribute.f = rng.choice((-1e38, 0.0, 0.5, 1e38, float("nan")))


def _change_op(graph: onnx.GraphProto, rng: random.Random) -> None:
    rng.choice(graph.node).op_type = rng.choice(_OPS)


def _change_input(graph: onnx.GraphProto, rng: random.Random) -> None:
    node = rng.choice(graph.node)
    names = [name for other in graph.node for name in [*other.input, *other.output]]
    node.input[rng.randrange(len(node.input))] = rng.choice([*names, "", "x", "nowhere"])


def _change_weight(graph: onnx.GraphProto, rng: random.Random) -> None:
    tensor = rng.choice(graph.initializer)
    if tensor.data_type == onnx.TensorProto.INT64 and rng.random() < 0.7:
        count = len(tensor.raw_data) // 8
        values = [rng.choice(_EXTREMES) for _ in range(count)]
        tensor.raw_data = b"".join(v.to_bytes(8, "little", signed=True) for v in values)
    elif tensor.dims and rng.random() < 0.5:
        tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(_EXTREMES)
    else:
        tensor.data_type = rng.choice((1, 2, 6, 7, 8, 9, 10, 11, 16, 99))

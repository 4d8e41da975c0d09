"""The structure of a model as plain JSON values, and the check of one that came from outside.

::

    {"version": 1,
     "input": {"name": "x", "shape": [3, 48, 192]},         one sample
     "output": "softmax",
     "weights": {"conv1_weight": [8, 3, 3, 3], "bn1.running_mean": [8], ...},
     "nodes": [["Conv", ["x", "conv1_weight"], ["conv1"], {"strides": [2, 2], ...}], ...]}

A node is its operator, its inputs, its outputs and its attributes. An input is the name of
an earlier output, the name of a weight, a number, or null where an optional one is absent.
Weights with a dot in their names belong to the module before the dot, a BatchNorm.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slfac.export.onnx_model.fields import check_fields, is_number
from slfac.export.onnx_model.limits import (
    MAX_INPUT_VALUES,
    MAX_NAME_CHARACTERS,
    MAX_NODES,
    MAX_RANK,
    MAX_SIZE,
    MAX_WEIGHT_VALUES,
    MAX_WEIGHTS,
)
from slfac.export.onnx_model.ops import OPS
from slfac.export.onnx_model.shapes import size
from slfac.wire.errors import ExportError

VERSION = 1
BATCH_NORM_PARTS = ("weight", "bias", "running_mean", "running_var")
_KEYS = {"version", "input", "output", "weights", "nodes"}
_REMEDY = "export the model again"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}(\.[a-z_]{1,16})?")


@dataclass(frozen=True)
class Node:
    """One operator of a checked structure.

    Attributes:
        op: Its name in :data:`OPS`.
        inputs: Names, numbers and None.
        outputs: Names.
        attributes: A value for each field of the operator.
    """

    op: str
    inputs: list[Any]
    outputs: list[str]
    attributes: dict[str, Any]

    @property
    def where(self) -> str:
        """The node's place, for messages."""
        return f"{self.op} that makes {self.outputs[0]!r}"


@dataclass(frozen=True)
class Structure:
    """A checked structure.

    Attributes:
        input_name: Name of the input.
        input_shape: Shape of one sample.
        output: Name of the output.
        weights: Shape of each weight.
        nodes: The operators, each after those whose outputs it takes.
    """

    input_name: str
    input_shape: tuple[int, ...]
    output: str
    weights: dict[str, tuple[int, ...]]
    nodes: list[Node]


def check_structure(structure: object) -> Structure:
    """Check everything about a structure that can be checked without running it.

    Args:
        structure: JSON values from anywhere.

    Returns:
        The same, typed.

    Raises:
        ExportError: It is of another version, malformed, or beyond the bounds of
            :mod:`slfac.export.onnx_model.limits`; the message says where.
    """
    if not isinstance(structure, Mapping) or set(structure) != _KEYS:
        raise _wrong(f"it needs exactly {', '.join(sorted(_KEYS))}")
    if structure["version"] != VERSION or type(structure["version"]) is not int:
        raise _wrong(f"its version is {str(structure['version'])[:40]!r}, not {VERSION}")
    entry = structure["input"]
    if not isinstance(entry, Mapping) or set(entry) != {"name", "shape"}:
        raise _wrong("input needs exactly name, shape")
    input_name = _check_name("input", entry["name"])
    shape = _check_shape("input", entry["shape"], MAX_INPUT_VALUES)
    weights = _check_weights(structure["weights"])
    nodes = structure["nodes"]
    if not isinstance(nodes, list) or not 1 <= len(nodes) <= MAX_NODES:
        raise _wrong(f"nodes must be a list of 1 to {MAX_NODES}")
    if input_name in weights:
        raise _wrong(f"{input_name!r} is both the input and a weight")
    known = {input_name, *weights}
    checked = [_check_node(i, node, known) for i, node in enumerate(nodes)]
    output = structure["output"]
    if not isinstance(output, str) or not any(output in node.outputs for node in checked):
        raise _wrong(f"no node makes its output {str(output)[:80]!r}")
    return Structure(input_name, shape, output, weights, checked)


def _wrong(what: str) -> ExportError:
    return ExportError(f"the structure of an ONNX model is wrong: {what}", _REMEDY)


def _check_name(where: str, name: object) -> str:
    if not isinstance(name, str) or not 1 <= len(name) <= MAX_NAME_CHARACTERS:
        raise _wrong(f"{where} has the name {str(name)[:80]!r}")
    return name


def _check_shape(where: str, shape: object, most: int) -> tuple[int, ...]:
    if (
        not isinstance(shape, list | tuple)
        or len(shape) > MAX_RANK
        or not all(type(n) is int and 1 <= n <= MAX_SIZE for n in shape)
        or size(shape) > most
    ):
        raise _wrong(f"{where} has the shape {str(shape)[:80]}")
    return tuple(shape)


def _check_weights(weights: object) -> dict[str, tuple[int, ...]]:
    if not isinstance(weights, Mapping) or len(weights) > MAX_WEIGHTS:
        raise _wrong(f"weights must be a table of at most {MAX_WEIGHTS}")
    checked: dict[str, tuple[int, ...]] = {}
    total = 0
    for name, shape in weights.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise _wrong(f"a weight has the name {str(name)[:80]!r}")
        checked[name] = _check_shape(f"weight {name!r}", shape, MAX_WEIGHT_VALUES)
        total += size(checked[name])
    if total > MAX_WEIGHT_VALUES:
        raise _wrong(f"its weights have {total} values, more than {MAX_WEIGHT_VALUES}")
    return checked


def _check_node(index: int, node: object, known: set[str]) -> Node:
    """One node; its outputs are added to the known names."""
    if not isinstance(node, list | tuple) or len(node) != 4:
        raise _wrong(f"node {index} is no list of four")
    op, inputs, outputs, attributes = node
    if not isinstance(op, str) or op not in OPS:
        raise _wrong(f"node {index} has an unknown operator {str(op)[:80]!r}")
    spec = OPS[op]
    where = f"node {index} ({op})"
    least, most = spec.inputs
    if not isinstance(inputs, list | tuple) or not least <= len(inputs) <= most:
        raise _wrong(f"{where} does not have {least} to {most} inputs")
    _check_inputs(where, inputs, known)
    if not isinstance(outputs, list | tuple) or not outputs or len(outputs) > 4096:
        raise _wrong(f"{where} has no list of outputs")
    for name in outputs:
        if _check_name(where, name) in known:
            raise _wrong(f"{where} makes {name!r}, which exists already")
        known.add(name)
    if len(outputs) > 1 and not spec.many:
        raise _wrong(f"{where} has {len(outputs)} outputs")
    if not isinstance(attributes, Mapping) or not all(isinstance(k, str) for k in attributes):
        raise _wrong(f"{where} has no table of attributes")
    return Node(op, list(inputs), list(outputs), check_fields(where, spec.fields, attributes))


def _check_inputs(where: str, inputs: Sequence[object], known: set[str]) -> None:
    for value in inputs:
        if not (value is None or is_number(value) or (isinstance(value, str) and value in known)):
            raise _wrong(f"{where} takes {str(value)[:80]!r}, which no earlier node makes")

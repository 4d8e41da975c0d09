"""Builds a torch module from a structure; this needs torch alone.

The graph has one node for each operator of the ONNX file, and one before it for each weight
that the operator takes. ``meta["cut"]`` of a node is the name that the file gives to the
tensor it makes.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from operator import getitem
from typing import Any

import torch
from torch import Tensor, fx, nn

from slfac.export.onnx_model.names import is_free
from slfac.export.onnx_model.ops import OPS
from slfac.export.onnx_model.shapes import meta, propagate
from slfac.export.onnx_model.structure import (
    BATCH_NORM_PARTS,
    Node,
    Structure,
    check_structure,
)
from slfac.wire.errors import ExportError

_BATCHES = (2, 3)
_BATCH_NORMS = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d}
_REMEDY = "export the model again"
_KEEP = "the output's first axis must be the batch"


def build(structure: Mapping[str, Any]) -> fx.GraphModule:
    """Build the model that a structure describes.

    Every shape is checked, on tensors without storage, before a weight is allocated.

    Args:
        structure: What :func:`slfac.export.onnx_model.read_onnx` gave, or JSON of it from
            anywhere.

    Returns:
        A model in training mode, from ``(B, ...) float32`` to the file's output, whose
        weights are zeros. ``load_state_dict`` takes the weights that were read with the
        structure, strictly.

    Raises:
        ExportError: The structure is malformed, too large, or its operators do not fit one
            another.
    """
    return _Builder(check_structure(structure)).module()


class _Builder:
    """Puts a graph together, and runs it on shapes as it grows."""

    def __init__(self, structure: Structure) -> None:
        self._structure = structure
        self._root = nn.Module()
        self._claimed: set[str] = set()
        self._used: set[str] = set()
        self._graph = fx.Graph()
        x = self._graph.placeholder("x")
        self._nodes: dict[str, fx.Node] = {structure.input_name: x}
        self._shapes: dict[str, tuple[Tensor, ...]] = {
            structure.input_name: tuple(meta((b, *structure.input_shape)) for b in _BATCHES)
        }
        for name, shape in structure.weights.items():
            self._shapes[name] = (meta(shape),) * len(_BATCHES)

    def module(self) -> fx.GraphModule:
        """Add every node, then close the graph."""
        for node in self._structure.nodes:
            shapes = self._check(node)
            made = self._add(node)
            for i, (name, each) in enumerate(zip(node.outputs, shapes, strict=True)):
                many = OPS[node.op].many
                value = self._graph.call_function(getitem, (made, i)) if many else made
                value.meta["cut"] = name
                self._nodes[name] = value
                self._shapes[name] = each
        output = self._structure.output
        for shape, batch in zip(self._shapes[output], _BATCHES, strict=True):
            if not shape.dim() or shape.shape[0] != batch:
                raise ExportError(f"output {output!r} does not keep the batch axis", _KEEP)
        unused = set(self._structure.weights) - self._used
        if unused:
            raise ExportError(f"no operator takes weight {min(unused)!r}", _REMEDY)
        self._graph.output(self._nodes[output])
        return fx.GraphModule(self._root, self._graph).train()

    def _check(self, node: Node) -> list[tuple[Tensor, ...]]:
        """Shapes of a node's outputs, for each size of a batch."""
        each = []
        for k, batch in enumerate(_BATCHES):
            inputs = [self._shapes[v][k] if isinstance(v, str) else v for v in node.inputs]
            made = propagate(node.where, node.op, inputs, node.attributes, batch=batch)
            if len(made) != len(node.outputs):
                raise ExportError(f"{node.where} has {len(node.outputs)} outputs", _REMEDY)
            each.append(made)
        return [tuple(shapes) for shapes in zip(*each, strict=True)]

    def _add(self, node: Node) -> fx.Node:
        kind = OPS[node.op].module
        if kind:
            name = self._batch_norm(node) if kind == "BatchNorm" else self._dropout(node)
            return self._graph.call_module(name, (self._value(node.inputs[0]),))
        inputs = [self._value(v) if isinstance(v, str) else v for v in node.inputs]
        call = OPS[node.op].translate(inputs, node.attributes)
        return self._graph.call_function(call.function, call.args, dict(call.kwargs))

    def _value(self, name: str) -> fx.Node:
        """An earlier node, or a new one that gets a weight."""
        if name in self._nodes:
            return self._nodes[name]
        if name not in self._used:
            parameter = nn.Parameter(torch.zeros(self._structure.weights[name]))
            self._root.register_parameter(self._claim(name), parameter)
            self._used.add(name)
        return self._graph.get_attr(name)

    def _batch_norm(self, node: Node) -> str:
        """Name of a new module that has the four weights that a node takes."""
        weights = [v if isinstance(v, str) else "" for v in node.inputs[1:]]
        name = weights[0].partition(".")[0]
        rank = self._shapes[node.inputs[0]][0].dim()
        if weights != [f"{name}.{part}" for part in BATCH_NORM_PARTS] or rank not in _BATCH_NORMS:
            raise ExportError(f"{node.where} has weights or inputs that no BatchNorm has", _REMEDY)
        (features,) = self._structure.weights[weights[0]]
        module = _BATCH_NORMS[rank](
            features, eps=node.attributes["eps"], momentum=node.attributes["momentum"]
        )
        self._root.add_module(self._claim(name), module)
        self._used.update(weights)
        return name

    def _dropout(self, node: Node) -> str:
        taken = self._claimed | {name.partition(".")[0] for name in self._structure.weights}
        name = self._claim(next(n for i in count() if (n := f"dropout_{i}") not in taken))
        self._root.add_module(name, nn.Dropout(node.attributes["p"]))
        return name

    def _claim(self, name: str) -> str:
        """A name for an attribute of the module, which no other has and torch does not use."""
        if name in self._claimed or not is_free(name):
            raise ExportError(f"a weight cannot have the name {name!r}", _REMEDY)
        self._claimed.add(name)
        return name

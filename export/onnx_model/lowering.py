"""The state of a reader: what is known of each tensor, and the structure made so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

import numpy as np

from slfac.export.onnx_model.fields import check_fields
from slfac.export.onnx_model.limits import MAX_WEIGHT_VALUES
from slfac.export.onnx_model.names import Names
from slfac.export.onnx_model.node import Node, shortest
from slfac.export.onnx_model.ops import OPS
from slfac.export.onnx_model.shapes import meta, propagate
from slfac.export.onnx_model.structure import BATCH_NORM_PARTS
from slfac.export.onnx_model.values import PROBES, Known, Live, Value
from slfac.wire.errors import ExportError


class Lowering:
    """Collects nodes and weights of a structure.

    Args:
        batch: Samples in a batch as the file fixes it; None where it leaves that open.
        reserved: Names of tensors that depend on the input, which no weight may take.
    """

    def __init__(self, batch: int | None, reserved: set[str]) -> None:
        self.batch = batch
        first = batch or 1
        self.batches = tuple(first + i for i in range(PROBES))
        self.values: dict[str, Value] = {}
        self.nodes: list[list[Any]] = []
        self.weights: dict[str, np.ndarray] = {}
        self._names = Names(reserved)
        self._given: dict[int, tuple[str, Known]] = {}  # the values keep their ids alive
        self._total = 0

    def add_input(self, name: str, shape: Sequence[int]) -> None:
        """Make the model's input known."""
        self.values[name] = Live(name, tuple(meta((b, *shape)) for b in self.batches))

    def emit(
        self,
        node: Node,
        op: str,
        inputs: Sequence[Value | float | None],
        attributes: Mapping[str, Any] | None = None,
        *,
        outputs: Sequence[str] = (),
    ) -> None:
        """Add an operator to the structure, and its outputs to what is known.

        Args:
            node: The file's node that it stands for.
            op: An operator of a structure.
            inputs: Tensors, numbers and None; constants become weights.
            attributes: As the operator has them; defaults may be left out.
            outputs: Names of the outputs; by default the node's one.

        Raises:
            ExportError: The shapes do not fit, or a weight cannot be trained.
        """
        names = list(outputs) or [node.one_output()]
        entries = [self._entry(node, value) for value in inputs]
        self._append(node, op, entries, inputs, dict(attributes or {}), names=names)

    def emit_batch_norm(
        self, node: Node, weights: Sequence[np.ndarray], origins: Sequence[str], **values: float
    ) -> None:
        """Add a BatchNorm, whose weights are its own even where the file shares them."""
        module = self._names.give(_common_prefix(origins) or node.outputs[0], module=True)
        entries: list[Any] = [node.live().name]
        for part, array in zip(BATCH_NORM_PARTS, weights, strict=True):
            entries.append(f"{module}.{part}")
            self._store(f"{module}.{part}", array)
        inputs: list[Any] = [node.live(), *weights]
        self._append(node, "BatchNormalization", entries, inputs, values, names=[node.one_output()])

    def alias(self, node: Node, value: Value) -> None:
        """Let the node's output be another name of a tensor."""
        self.values[node.one_output()] = value

    def _append(
        self,
        node: Node,
        op: str,
        entries: list[Any],
        inputs: Sequence[Any],
        attributes: dict[str, Any],
        *,
        names: list[str],
    ) -> None:
        """Add a node whose inputs are written as a structure has them."""
        fields = OPS[op].fields
        where = f"node {node.proto.name or names[0]!r} ({node.op})"
        whole = check_fields(where, fields, attributes)
        made = [
            propagate(where, op, [_meta(v, k) for v in inputs], whole, batch=self.batches[k])
            for k in range(PROBES)
        ]
        short = {k: v for k, v in attributes.items() if v != fields[k].default}
        self.nodes.append([op, entries, names, short])
        for name, metas in zip(names, zip(*made, strict=True), strict=True):
            self.values[name] = Live(name, tuple(metas), node.op)

    def _entry(self, node: Node, value: Value | float | None) -> Any:
        """How a structure writes an input."""
        if isinstance(value, Live):
            return value.name
        if not isinstance(value, Known):
            return value
        array = sample_of(value)
        if array is None or not array.size:
            node.refuse(f"takes {value.origin!r}, a constant that depends on the batch size")
        key = id(value)
        if key not in self._given:
            self._given[key] = (self._names.give(value.origin), value)
            self._store(self._given[key][0], array)
        return self._given[key][0]

    def _store(self, name: str, array: np.ndarray) -> None:
        plain = np.array(array, np.float32, order="C")  # a copy, which torch may write to
        if not np.isfinite(plain).all():
            raise ExportError(f"weight {name!r} holds values that are not finite")
        self.weights[name] = plain
        self._total += plain.size
        if self._total > MAX_WEIGHT_VALUES:
            raise ExportError(f"the model has more than {MAX_WEIGHT_VALUES} weights")


def sample_of(value: Known) -> np.ndarray | None:
    """Values that serve every batch: constant ones, or one sample that is repeated."""
    array = value.constant
    if array is not None:
        return array
    first = value.arrays[0][:1] if value.arrays[0].ndim else value.arrays[0]
    for each in value.arrays:
        if each.shape[1:] != first.shape[1:] or not np.array_equal(
            each, np.broadcast_to(first, each.shape)
        ):
            return None
    return first


def as_number(value: Value | None) -> float | None:
    """The value of a constant that is a single number, else None."""
    array = value.constant if isinstance(value, Known) else None
    if array is None or array.size != 1 or array.dtype.kind not in "fiu":
        return None
    return shortest(array.reshape(())[()])


def _meta(value: Any, probe: int) -> Any:
    if isinstance(value, Live):
        return value.metas[probe]
    if isinstance(value, Known):
        array = sample_of(value)
        return meta(array.shape if array is not None else ())
    return meta(value.shape) if isinstance(value, np.ndarray) else value


def _common_prefix(names: Sequence[str]) -> str:
    """What the names of a BatchNorm's weights share: ``layer1.0.bn1`` of its four."""
    least, greatest = min(names), max(names)
    same = takewhile(lambda pair: pair[0] == pair[1], zip(least, greatest, strict=False))
    shared = "".join(pair[0] for pair in same)
    # A name such as bn1_running would name half of a weight.
    return shared[: max(0, *(shared.rfind(mark) for mark in "._-/:"))]

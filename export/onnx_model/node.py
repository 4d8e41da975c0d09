"""One operator of an ONNX file with its inputs and attributes, and how it is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
from onnx import AttributeProto, NodeProto

from slfac.export.onnx_model.values import Known, Live, Value
from slfac.wire.errors import ExportError

_MAX_ENTRIES = 1 << 16


class Node:
    """An operator of a file.

    Args:
        proto: As the file has it.
        inputs: What is known of its inputs; None where an optional one is absent.
        opset: The file's opset.
    """

    def __init__(self, proto: NodeProto, inputs: list[Value | None], opset: int) -> None:
        self.proto = proto
        self.op = str(proto.op_type)
        self.inputs = inputs
        self.outputs = [str(name) for name in proto.output]
        self.opset = opset
        self._attributes = {a.name: a for a in proto.attribute}

    def refuse(self, what: str, remedy: str = "") -> NoReturn:
        """Say what about this node cannot be read.

        Args:
            what: What it is or has, to follow its name.
            remedy: What to do; by default, to cut before it or leave it out.

        Raises:
            ExportError: Always.
        """
        raise self.refusal(what, remedy)

    def refusal(self, what: str, remedy: str = "") -> ExportError:
        """The error of :meth:`refuse`."""
        name = self.proto.name or (self.outputs[0] if self.outputs else "")
        return ExportError(
            f"node {name!r} ({self.op}) {what}", remedy or "export the model without it"
        )

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute as Python values; floats with their shortest exact digits.

        Args:
            name: The attribute.
            default: Its value where the file leaves it out.

        Returns:
            A number, a text, or a list of them.
        """
        if name not in self._attributes:
            return default
        found = self._attributes[name]
        if found.ref_attr_name or len(found.ints) + len(found.floats) > _MAX_ENTRIES:
            self.refuse(f"has an attribute {name} that cannot be read")
        if found.type not in _READ:
            self.refuse(f"has an attribute {name} of another kind than expected")
        return _READ[found.type](found)

    def input(self, index: int) -> Value | None:
        """An input, or None where it is absent."""
        return self.inputs[index] if index < len(self.inputs) else None

    def live(self, index: int = 0) -> Live:
        """An input that depends on the model's input."""
        value = self.input(index)
        if not isinstance(value, Live):
            self.refuse(f"has a constant as its input {index}, which is not expected")
        return value

    def array(self, index: int) -> np.ndarray | None:
        """Values of an input that is constant, or None where it is absent."""
        value = self.input(index)
        if value is None:
            return None
        if not isinstance(value, Known):
            self.refuse(f"takes {value.name!r}, which is not constant, as its input {index}")
        array = value.constant
        if array is None:
            self.refuse(f"has an input {index} that depends on the batch size")
        return array

    def ints(self, index: int, name: str, before: int) -> list[int] | None:
        """Whole numbers that are an attribute before some opset and an input from it on.

        Args:
            index: Which input.
            name: Which attribute.
            before: The first opset where it is an input.

        Returns:
            The numbers, or None where they are absent.
        """
        if self.opset < before:
            found = self.attribute(name)
            return None if found is None else list(found)
        array = self.array(index)
        if array is None:
            return None
        if array.size > _MAX_ENTRIES or array.dtype.kind not in "iu":
            self.refuse(f"has an odd input {index}")
        return [int(value) for value in array.reshape(-1)]

    def number(self, index: int) -> float | None:
        """A constant input of one value, or None where it is absent."""
        array = self.array(index)
        if array is None:
            return None
        if array.size != 1:
            self.refuse(f"has {array.size} values where one is expected")
        return shortest(array.reshape(())[()])

    def axis(self, value: int, rank: int) -> int:
        """An axis counted from the front."""
        if not -rank <= value < rank:
            self.refuse(f"has axis {value}, but its input has {rank}")
        return value % rank

    def one_output(self) -> str:
        """Name of its output; others must not be used."""
        if not self.outputs or not self.outputs[0]:
            self.refuse("makes nothing")
        return self.outputs[0]


def shortest(value: Any) -> float:
    """A float32 with as few digits as still give the same float32."""
    return float(str(np.float32(value)))


_READ: dict[int, Callable[[AttributeProto], Any]] = {
    AttributeProto.FLOAT: lambda a: shortest(a.f),
    AttributeProto.INT: lambda a: int(a.i),
    AttributeProto.STRING: lambda a: a.s.decode("utf-8", "replace"),
    AttributeProto.INTS: lambda a: [int(value) for value in a.ints],
    AttributeProto.FLOATS: lambda a: [shortest(value) for value in a.floats],
}

"""What a manifest says of a front: its tensors and its graphs."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
import torch
from torch import nn

from slfac.export.trace import SMASHED, SMASHED_GRADIENT, JointTrace
from slfac.wire.errors import ExportError
from slfac.wire.manifest import BufferSpec, Graph, Graphs, TensorSpec

FORWARD_FILE = "forward.onnx"
BACKWARD_FILE = "backward.onnx"
INFER_FILE = "infer.onnx"


def describe_parameters(front: nn.Module) -> tuple[TensorSpec, ...]:
    """The trainable tensors of a front, in its own order.

    Args:
        front: The front.

    Returns:
        One spec each.

    Raises:
        ExportError: One is neither float32 nor int64.
    """
    return tuple(_spec(name, value) for name, value in front.named_parameters())


def describe_buffers(front: nn.Module, trace: JointTrace) -> tuple[BufferSpec, ...]:
    """The buffers of a front, and how a training step changes each.

    Args:
        front: The front.
        trace: Its training step, which puts out new values of some.

    Returns:
        One spec each.

    Raises:
        ExportError: One is neither float32 nor int64.
    """
    return tuple(_buffer(name, value, trace) for name, value in front.named_buffers())


def describe_graphs(graphs: Mapping[str, onnx.ModelProto], trace: JointTrace) -> Graphs:
    """The graphs of a bundle, with the order of their inputs and outputs.

    Args:
        graphs: File name -> graph, for all three.
        trace: What the first two were cut from.

    Returns:
        The manifest's field ``graphs``.
    """

    def graph(file: str) -> Graph:
        proto = graphs[file].graph
        return Graph(
            file=file,
            inputs=tuple(value.name for value in proto.input),
            outputs=tuple(value.name for value in proto.output),
        )

    return Graphs(
        forward=graph(FORWARD_FILE),
        backward=graph(BACKWARD_FILE),
        infer=graph(INFER_FILE),
        gradients=trace.gradients,
        smashed_gradients={SMASHED: SMASHED_GRADIENT},
    )


def _spec(name: str, value: torch.Tensor) -> TensorSpec:
    dtype = str(value.dtype).removeprefix("torch.")
    if dtype not in {"float32", "int64"}:
        raise ExportError(f"tensor {name!r} of the front is {dtype}", "use float32")
    return TensorSpec(name=name, shape=tuple(value.shape), dtype=dtype)  # type: ignore[arg-type]


def _buffer(name: str, value: torch.Tensor, trace: JointTrace) -> BufferSpec:
    if name in trace.new_buffers:
        return BufferSpec(_spec(name, value), update="graph", output=trace.new_buffers[name])
    counts = name.rpartition(".")[2] == "num_batches_tracked"
    return BufferSpec(_spec(name, value), update="count" if counts else "none")

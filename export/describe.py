"""What a manifest says of a front: its tensors and its graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx
import torch
from torch import nn

from slfac.export.batchnorm import COUNTER
from slfac.export.trace import JointTrace
from slfac.wire.errors import ExportError
from slfac.wire.manifest import BufferSpec, Graph, Graphs, TensorSpec

FORWARD_FILE = "forward.onnx"
BACKWARD_FILE = "backward.onnx"
INFER_FILE = "infer.onnx"


def describe_parameters(front: nn.Module, trace: JointTrace) -> tuple[TensorSpec, ...]:
    """The trainable tensors of a front, in its own order.

    Args:
        front: The front.
        trace: Its training step, which has gradients of these.

    Returns:
        One spec each.

    Raises:
        ExportError: One is neither float32 nor int64.
    """
    parameters = front.named_parameters()
    return tuple(_spec(name, value) for name, value in parameters if name in trace.gradients)


def describe_buffers(front: nn.Module, trace: JointTrace) -> tuple[BufferSpec, ...]:
    """The buffers and frozen parameters of a front, and how a training step changes each.

    Args:
        front: The front.
        trace: Its training step, which puts out new values of some.

    Returns:
        One spec each.

    Raises:
        ExportError: One is neither float32 nor int64.
    """
    state = front.state_dict().items()
    return tuple(
        _buffer(name, value, trace) for name, value in state if name not in trace.gradients
    )


def describe_graphs(graphs: Mapping[str, onnx.ModelProto], trace: JointTrace) -> Graphs:
    """The graphs of a bundle, with the order of their inputs and outputs.

    Args:
        graphs: File name -> graph, for all three.
        trace: What the first two were cut from.

    Returns:
        The manifest's field ``graphs``.
    """

    def graph(file: str, frozen: Sequence[str] = ()) -> Graph:
        proto = graphs[file].graph
        held = {tensor.name for tensor in proto.initializer}
        return Graph(
            file=file,
            inputs=tuple(value.name for value in proto.input),
            outputs=tuple(value.name for value in proto.output),
            frozen=tuple(name for name in frozen if name in held),
        )

    return Graphs(
        forward=graph(FORWARD_FILE, trace.frozen),
        backward=graph(BACKWARD_FILE, trace.frozen),
        infer=graph(INFER_FILE),
        gradients=trace.gradients,
        smashed_gradients=trace.smashed,
    )


def _spec(name: str, value: torch.Tensor) -> TensorSpec:
    dtype = str(value.dtype).removeprefix("torch.")
    if dtype not in {"float32", "int64"}:
        raise ExportError(f"tensor {name!r} of the front is {dtype}", "use float32")
    return TensorSpec(name=name, shape=tuple(value.shape), dtype=dtype)  # type: ignore[arg-type]


def _buffer(name: str, value: torch.Tensor, trace: JointTrace) -> BufferSpec:
    if name in trace.new_buffers:
        return BufferSpec(_spec(name, value), update="graph", output=trace.new_buffers[name])
    # Where the statistics are frozen, their batches are not counted either.
    statistics = name.rpartition(".")[0] + ".running_mean"
    counts = name.rpartition(".")[2] == COUNTER and statistics in trace.new_buffers
    return BufferSpec(_spec(name, value), update="count" if counts else "none")

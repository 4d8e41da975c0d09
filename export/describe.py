"""What a manifest says of a front or head: its tensors and its graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx
import torch
from torch import nn

from slfac.export.batchnorm import COUNTER
from slfac.export.head_trace import HeadTrace
from slfac.export.trace import JointTrace, StepTrace
from slfac.wire.errors import ExportError
from slfac.wire.manifest import BufferSpec, Graph, Graphs, Head, TensorSpec

FORWARD_FILE = "forward.onnx"
BACKWARD_FILE = "backward.onnx"
INFER_FILE = "infer.onnx"
HEAD_FILE = "head.onnx"
HEAD_INFER_FILE = "head-infer.onnx"


def describe_parameters(half: nn.Module, trace: StepTrace) -> tuple[TensorSpec, ...]:
    """The trainable tensors of a front or head, in its own order.

    Args:
        half: It.
        trace: Its training step, which has gradients of these.

    Returns:
        One spec each.

    Raises:
        ExportError: One is neither float32 nor int64.
    """
    parameters = half.named_parameters()
    return tuple(_spec(name, value) for name, value in parameters if name in trace.gradients)


def describe_buffers(half: nn.Module, trace: StepTrace) -> tuple[BufferSpec, ...]:
    """Buffers and frozen parameters of a front or head, and how a training step changes each.

    Args:
        half: It.
        trace: Its training step, which puts out new values of some.

    Returns:
        One spec each.

    Raises:
        ExportError: One is neither float32 nor int64.
    """
    state = half.state_dict().items()
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
    return Graphs(
        forward=_graph(graphs, FORWARD_FILE, trace.frozen),
        backward=_graph(graphs, BACKWARD_FILE, trace.frozen),
        infer=_graph(graphs, INFER_FILE),
        gradients=trace.gradients,
        smashed_gradients=trace.smashed,
    )


def describe_head(
    trace: HeadTrace,
    graphs: Mapping[str, onnx.ModelProto],
    *,
    cut: str,
    inputs: Sequence[TensorSpec],
    state: Sequence[str],
) -> Head:
    """What a manifest says of a head.

    Args:
        trace: Its training step.
        graphs: File name -> graph, for both.
        cut: Where it begins.
        inputs: What it takes.
        state: Names of its parameters and buffers that are not the front's too.

    Returns:
        The manifest's field ``head``.
    """
    infer = graphs[HEAD_INFER_FILE].graph.initializer
    weights = [t.name for t in infer if t.data_location == onnx.TensorProto.EXTERNAL]
    return Head(
        cut=cut,
        inputs=tuple(inputs),
        state=tuple(state),
        step=_graph(graphs, HEAD_FILE, trace.frozen),
        infer=_graph(graphs, HEAD_INFER_FILE, weights),
        target=trace.target,
        loss=trace.loss,
        input_gradients=trace.input_gradients,
        gradients=trace.gradients,
        random=trace.random,
    )


def _graph(graphs: Mapping[str, onnx.ModelProto], file: str, frozen: Sequence[str] = ()) -> Graph:
    proto = graphs[file].graph
    held = {tensor.name for tensor in proto.initializer}
    return Graph(
        file=file,
        inputs=tuple(value.name for value in proto.input),
        outputs=tuple(value.name for value in proto.output),
        frozen=tuple(name for name in frozen if name in held),
    )


def _spec(name: str, value: torch.Tensor) -> TensorSpec:
    dtype = str(value.dtype).removeprefix("torch.")
    if dtype not in {"float32", "int64"}:
        raise ExportError(f"tensor {name!r} of the front is {dtype}", "use float32")
    return TensorSpec(name=name, shape=tuple(value.shape), dtype=dtype)  # type: ignore[arg-type]


def _buffer(name: str, value: torch.Tensor, trace: StepTrace) -> BufferSpec:
    if name in trace.new_buffers:
        return BufferSpec(_spec(name, value), update="graph", output=trace.new_buffers[name])
    # Where the statistics are frozen, their batches are not counted either.
    statistics = name.rpartition(".")[0] + ".running_mean"
    counts = name.rpartition(".")[2] == COUNTER and statistics in trace.new_buffers
    return BufferSpec(_spec(name, value), update="count" if counts else "none")

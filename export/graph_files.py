"""The ONNX files of a front or head, with what a manifest says of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slfac.export.culprit import named_culprit
from slfac.export.describe import (
    BACKWARD_FILE,
    FORWARD_FILE,
    HEAD_FILE,
    HEAD_INFER_FILE,
    INFER_FILE,
    describe_buffers,
    describe_graphs,
    describe_head,
    describe_parameters,
)
from slfac.export.half import Half
from slfac.export.head_trace import OUTPUT, middle_names, trace_head
from slfac.export.infer import trace_inference
from slfac.export.onnx_clean import clean, to_bytes
from slfac.export.onnx_cut import cut_training_step, whole_step
from slfac.export.trace import X, trace_training_step
from slfac.wire.manifest import Loss, TensorSpec

Say = Callable[[str], None]
Files = dict[str, bytes]
Fields = dict[str, Any]


def front_files(
    front: Half, input_shape: tuple[int, ...], *, what: str, recompute: bool, say: Say
) -> tuple[Files, Fields]:
    """The front's graphs.

    Args:
        front: The front.
        input_shape: Shape of one sample.
        what: What to call it.
        recompute: Whether the backward graph runs the forward anew.
        say: Called with a line of text before each stage.

    Returns:
        The files, and fields of the manifest.

    Raises:
        ExportError: An operator has no translation, or a step does what no graph could.
    """
    say(f"tracing the training step of {what}")
    with named_culprit(front, input_shape):
        trace = trace_training_step(front, input_shape)
    steps = cut_training_step(trace, recompute=recompute)
    say(f"tracing {what} for evaluation")
    with named_culprit(front, input_shape):
        evaluate = trace_inference(front, {X: input_shape}, list(trace.smashed))
    graphs = {
        FORWARD_FILE: clean(steps.forward),
        BACKWARD_FILE: clean(steps.backward),
        INFER_FILE: clean(evaluate),
    }
    fields = {
        "batch_norm": bool(trace.new_buffers),
        "parameters": describe_parameters(front, trace),
        "buffers": describe_buffers(front, trace),
        "graphs": describe_graphs(graphs, trace),
        "random": trace.random,
    }
    return {name: to_bytes(graph) for name, graph in graphs.items()}, fields


def head_files(
    head: Half,
    shapes: tuple[tuple[int, ...], ...],
    *,
    front: Fields,
    cut: str,
    loss: Loss,
    num_outputs: int,
    say: Say,
) -> tuple[Files, Fields]:
    """The head's graphs.

    Args:
        head: The head.
        shapes: Shape of each tensor that the middle gives, without the batch axis.
        front: Fields of the front, as :func:`front_files` gives them.
        cut: Where it begins.
        loss: Name of the loss.
        num_outputs: Width of its output.
        say: Called with a line of text before each stage.

    Returns:
        The files, and fields of the manifest, those of the front among them.

    Raises:
        ExportError: An operator has no translation, or a step does what no graph could.
    """
    names = middle_names(len(shapes))
    inputs = [TensorSpec(name=name, shape=shape) for name, shape in zip(names, shapes, strict=True)]
    what = f"the head behind {cut}"
    say(f"tracing the training step of {what}")
    with named_culprit(head, *shapes, name="head"):
        trace = trace_head(head, inputs, loss, num_outputs)
        say(f"tracing {what} for evaluation")
        evaluate = trace_inference(head, dict(zip(names, shapes, strict=True)), [OUTPUT])
    graphs = {HEAD_FILE: clean(whole_step(trace)), HEAD_INFER_FILE: clean(evaluate)}
    # A constant that both read is one buffer of the device, and of the front.
    known = {buffer.tensor.name for buffer in front["buffers"]}
    buffers = [b for b in describe_buffers(head, trace) if b.tensor.name not in known]
    state = [name for name in head.state_dict() if name not in known]
    fields = {
        **front,
        "batch_norm": front["batch_norm"] or bool(trace.new_buffers),
        "parameters": (*front["parameters"], *describe_parameters(head, trace)),
        "buffers": (*front["buffers"], *buffers),
        "head": describe_head(trace, graphs, cut=cut, inputs=inputs, state=state),
    }
    return {name: to_bytes(graph) for name, graph in graphs.items()}, fields

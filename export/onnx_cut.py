"""Cuts the graph of a training step in two: what runs before the network, and after.

The forward graph holds what the smashed data and the new buffers need; the backward graph
holds the rest. What the backward graph reads from the forward's half is a residual: an
output of the one and an input of the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import onnx

from slfac.export.onnx_outside import stored_outside
from slfac.export.trace import JointTrace, StepTrace
from slfac.wire.errors import ExportError

# These copy nothing.
_VIEWS = {"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity"}


@dataclass(frozen=True)
class CutGraphs:
    """The two halves of a training step.

    Attributes:
        forward: Inputs: ``x``, random numbers, parameters, buffers. Outputs: smashed data,
            new buffers, residuals. What no step changes is an initializer stored outside
            the graph, so that onnxruntime can fold it.
        backward: Inputs: gradient of the smashed data, residuals, and whichever of the
            forward's inputs it needs. Outputs: gradients of the parameters.
    """

    forward: onnx.ModelProto
    backward: onnx.ModelProto


def cut_training_step(trace: JointTrace, *, recompute: bool = False) -> CutGraphs:
    """Cut the graph of a training step into forward and backward.

    Args:
        trace: The traced step.
        recompute: Whether the backward graph computes anew what it needs of the forward's
            half, so that nothing but the inputs is held between the two.

    Returns:
        Both graphs, each valid by itself.

    Raises:
        ExportError: A new buffer depends on the gradient.
    """
    graph = onnx.shape_inference.infer_shapes(trace.model).graph
    _read_clipped(graph)
    outputs = [value.name for value in graph.output]
    gradients = [name for name in outputs if name in set(trace.gradients.values())]
    early = [name for name in outputs if name not in gradients]
    before = _ancestors(graph, early)
    needed = _ancestors(graph, gradients)
    after = needed if recompute else _after(graph, set(before), needed)
    forward = [graph.node[index] for index in before]
    backward = [graph.node[index] for index in after]
    if not set(trace.smashed.values()).isdisjoint(_outside_inputs(forward)):
        raise ExportError("the smashed data or a buffer depends on the gradient at the cut")
    made = {name for node in forward for name in node.output}
    residuals = [name for name in _outside_inputs(backward) if name in made - set(early)]
    return CutGraphs(
        forward=_subgraph(trace, graph, forward, [*early, *residuals]),
        backward=_subgraph(trace, graph, backward, gradients),
    )


def whole_step(trace: StepTrace) -> onnx.ModelProto:
    """The graph of a training step that is not cut, such as a head's.

    Args:
        trace: The traced step.

    Returns:
        The graph, valid by itself; what no step changes is stored outside it.
    """
    graph = onnx.shape_inference.infer_shapes(trace.model).graph
    _read_clipped(graph)
    return _subgraph(trace, graph, list(graph.node), [value.name for value in graph.output])


def _after(graph: onnx.GraphProto, before: set[int], needed: list[int]) -> list[int]:
    """Of the nodes that the gradients need, those that the backward graph runs.

    These are all that do not run before, and views of what runs before: a reshaped copy of
    a value that is kept would be kept a second time.
    """
    maker = {name: index for index, node in enumerate(graph.node) for name in node.output}
    given = {value.name for value in graph.input}
    after = {index for index in needed if index not in before}
    waiting = sorted(after)
    while waiting:
        for name in graph.node[waiting.pop()].input:
            index = maker.get(name)
            if index is None or index in after:
                continue
            node = graph.node[index]
            transposed = node.op_type == "Transpose" and node.input[0] in given
            if node.op_type in _VIEWS or transposed:
                after.add(index)
                waiting.append(index)
    return sorted(after)


def _read_clipped(graph: onnx.GraphProto) -> None:
    """Compare a clipped value with its bounds in place of the value itself.

    Whether it lies strictly inside is the same, and the clipped value, which the next layer
    reads, has to be kept anyway.
    """
    clipped = {
        (node.input[0], side, bound): node.output[0]
        for node in graph.node
        if node.op_type == "Clip"
        for side, bound in zip(("Greater", "Less"), node.input[1:], strict=False)
    }
    for node in graph.node:
        key = (node.input[0], node.op_type, node.input[1]) if len(node.input) > 1 else None
        if key in clipped:
            node.input[0] = clipped[key]


def _ancestors(graph: onnx.GraphProto, names: Iterable[str]) -> list[int]:
    """Indices of the nodes that the named values need, in the graph's order."""
    maker = {name: index for index, node in enumerate(graph.node) for name in node.output}
    waiting = [maker[name] for name in names]
    found: set[int] = set()
    while waiting:
        index = waiting.pop()
        if index not in found:
            found.add(index)
            waiting.extend(maker[name] for name in graph.node[index].input if name in maker)
    return sorted(found)


def _outside_inputs(nodes: Iterable[onnx.NodeProto]) -> list[str]:
    """What the nodes read and none of them makes, in order of first use."""
    nodes = list(nodes)
    made = {name for node in nodes for name in node.output} | {""}
    return list(dict.fromkeys(name for node in nodes for name in node.input if name not in made))


def _subgraph(
    trace: StepTrace, graph: onnx.GraphProto, nodes: list[onnx.NodeProto], outputs: list[str]
) -> onnx.ModelProto:
    constants = {tensor.name: tensor for tensor in graph.initializer}
    known = _types(graph)
    outside = _outside_inputs(nodes)
    order = {value.name: position for position, value in enumerate(graph.input)}
    inputs = sorted(
        (name for name in outside if name not in constants),
        key=lambda name: order.get(name, len(order)),
    )
    if any(name not in known for name in (*inputs, *outputs)):
        # Values inside functions that were inlined come without their types.
        known = {**_types(onnx.shape_inference.infer_shapes(trace.model).graph), **known}
    missing = [name for name in (*inputs, *outputs) if name not in known]
    if missing:
        raise ExportError(f"value {missing[0]!r} at the cut has no known type")
    frozen = [known[name] for name in inputs if name in trace.frozen]
    return onnx.helper.make_model(
        onnx.helper.make_graph(
            nodes,
            graph.name,
            [known[name] for name in inputs if name not in trace.frozen],
            [known[name] for name in outputs],
            [
                *(constants[name] for name in outside if name in constants),
                *(stored_outside(value) for value in frozen),
            ],
        ),
        opset_imports=trace.model.opset_import,
    )


def _types(graph: onnx.GraphProto) -> dict[str, onnx.ValueInfoProto]:
    return {v.name: v for v in (*graph.value_info, *graph.input, *graph.output)}

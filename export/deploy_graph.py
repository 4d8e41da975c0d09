"""Puts a deployment graph together: front with its weights, back, preprocessing, notes."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import onnx
import torch
from onnx import compose, helper, numpy_helper
from torch import nn

from slfac.data.preprocess import factors
from slfac.export.culprit import translation_errors
from slfac.export.onnx_clean import clean
from slfac.export.to_onnx import BATCH, to_onnx
from slfac.wire.manifest import Preprocessing, TensorSpec

LOGITS = "logits"
Stored = Literal["uint8", "float32"]
_FRONT, _BACK, _HEAD = "front.", "back.", "head."
_PREPROCESSING = "preprocessing."
_ELEMENT = {"uint8": onnx.TensorProto.UINT8, "float32": onnx.TensorProto.FLOAT}


def front_graph(infer: onnx.ModelProto, state: Mapping[str, np.ndarray]) -> onnx.ModelProto:
    """A bundle's ``infer.onnx`` with its weights inside.

    Args:
        infer: The graph, its weights stored outside.
        state: The weights, by name.

    Returns:
        The graph; inner names begin with ``front.``.
    """
    return _prefixed(clean(_filled(infer, state)), _FRONT)


def head_graph(infer: onnx.ModelProto, state: Mapping[str, np.ndarray]) -> onnx.ModelProto:
    """A bundle's ``head-infer.onnx`` with its weights inside.

    Args:
        infer: The graph, its weights stored outside.
        state: The weights, by name.

    Returns:
        The graph from what the middle gives to ``logits``; inner names begin with ``head.``.
    """
    filled = _filled(infer, state)
    (output,) = filled.graph.output
    for node in filled.graph.node:
        node.input[:] = [LOGITS if name == output.name else name for name in node.input]
        node.output[:] = [LOGITS if name == output.name else name for name in node.output]
    output.name = LOGITS
    return _prefixed(clean(filled), _HEAD)


def back_graph(
    back: nn.Module, smashed: Sequence[TensorSpec], outputs: Sequence[str]
) -> onnx.ModelProto:
    """Translate a back half in evaluation mode.

    Args:
        back: The back half; it is not changed.
        smashed: What it takes.
        outputs: What to call what it gives.

    Returns:
        The graph from the smashed data to the outputs; inner names begin with ``back.``.

    Raises:
        ExportError: An operator of the back half has no translation.
    """
    with translation_errors("back half"):
        proto = to_onnx(
            copy.deepcopy(back).eval(),
            [torch.zeros(2, *spec.shape) for spec in smashed],
            (tuple({0: BATCH} for _ in smashed),),
            inputs=[spec.name for spec in smashed],
            outputs=list(outputs),
            tidy=False,
        )
    return _prefixed(clean(proto), _BACK)


def joined(front: onnx.ModelProto, back: onnx.ModelProto) -> onnx.ModelProto:
    """Two parts as one graph, from the first's input to the second's output.

    Args:
        front: As :func:`front_graph` gives it, or what this made of two parts.
        back: As :func:`back_graph` or :func:`head_graph` give it, whose inputs are the first's
            outputs.
    """
    whole = onnx.ModelProto()
    whole.CopyFrom(front)
    whole.graph.node.extend(back.graph.node)
    whole.graph.initializer.extend(back.graph.initializer)
    del whole.graph.output[:]
    whole.graph.output.extend(back.graph.output)
    return whole


def with_preprocessing(
    model: onnx.ModelProto, preprocessing: Preprocessing, stored: Stored
) -> onnx.ModelProto:
    """Let a graph take values as they are stored, and scale and normalise them itself.

    The result is that of :func:`slfac.data.apply`, bit for bit.

    Args:
        model: A graph of one input.
        preprocessing: The bundle's factors.
        stored: Type of the stored values.
    """
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    given = graph.input[0]
    shape = tuple(dim.dim_value for dim in given.type.tensor_type.shape.dim)
    multiplier, offset = factors(preprocessing, shape)
    # Renamed inside, so that the input keeps its name.
    inner = f"{_PREPROCESSING}{given.name}"
    for node in graph.node:
        node.input[:] = [inner if name == given.name else name for name in node.input]
    cast, scaled = f"{_PREPROCESSING}cast", f"{_PREPROCESSING}scaled"
    steps = [
        helper.make_node("Cast", [given.name], [cast], to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", [cast, f"{_PREPROCESSING}multiplier"], [scaled]),
        helper.make_node("Sub", [scaled, f"{_PREPROCESSING}offset"], [inner]),
    ]
    nodes = [*steps, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.append(numpy_helper.from_array(multiplier, f"{_PREPROCESSING}multiplier"))
    graph.initializer.append(numpy_helper.from_array(offset, f"{_PREPROCESSING}offset"))
    given.type.tensor_type.elem_type = _ELEMENT[stored]
    return changed


def with_notes(model: onnx.ModelProto, notes: Mapping[str, str]) -> onnx.ModelProto:
    """Write what a file is into it, as ``metadata_props``.

    Args:
        model: The graph.
        notes: Texts by name.
    """
    noted = onnx.ModelProto()
    noted.CopyFrom(model)
    helper.set_model_props(noted, dict(notes))
    return noted


def _filled(infer: onnx.ModelProto, state: Mapping[str, np.ndarray]) -> onnx.ModelProto:
    """A graph with the weights that are stored outside it."""
    filled = onnx.ModelProto()
    filled.CopyFrom(infer)
    for tensor in filled.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            tensor.CopyFrom(numpy_helper.from_array(state[tensor.name], tensor.name))
    return filled


def _prefixed(model: onnx.ModelProto, prefix: str) -> onnx.ModelProto:
    """Inner names of two halves must not meet; those of in- and outputs are to."""
    changed: onnx.ModelProto = compose.add_prefix(
        model, prefix, rename_inputs=False, rename_outputs=False
    )
    return changed

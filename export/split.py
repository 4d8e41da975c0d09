"""Cuts a model in two at a named place."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from slfac.export.cuts import find_cut, find_head_cut, halves, thirds
from slfac.export.graph import trace_model
from slfac.export.half import Half


@dataclass(frozen=True)
class Split:
    """What devices and the server have of a model.

    Attributes:
        front: From the input to the smashed tensors: one by itself, several as a tuple.
        back: From these, as so many arguments, to the output, or to the second cut.
        shapes: Shape of each smashed tensor, without the batch axis.
    """

    front: Half
    back: Half
    shapes: tuple[tuple[int, ...], ...]


def split(model: nn.Module, cut: str, input_shape: tuple[int, ...], head_cut: str = "") -> Split:
    """Cut a model at the module or node of the given name.

    Args:
        model: A module from one tensor to one tensor; both halves share its modules.
        cut: Such as ``pool1``, ``layer1.0`` or ``cat_3``.
        input_shape: Shape of one sample.
        head_cut: Where the back ends; empty for at the model's output.

    Returns:
        Both halves, whose tensors are named as in the model.

    Raises:
        ExportError: The model cannot be followed, cannot take such an input, or cannot be
            cut there; the message names cuts that are near.
    """
    graph = trace_model(model, input_shape)
    place = find_cut(graph, cut)
    if head_cut:
        front, back, _ = thirds(graph, place, find_head_cut(graph, head_cut, place))
    else:
        front, back = halves(graph, place)
    for half in (front, back):
        half.train(model.training)
    return Split(front, back, place.shapes)

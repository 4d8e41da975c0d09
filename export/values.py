"""What every node of a model's graph computes: its kind and shape, found by running it."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import fx, nn
from torch.utils._pytree import tree_leaves

from slfac.wire.errors import ExportError

# Two runs tell which axis grows with the batch. With one sample, BatchNorm over a single
# pixel has no variance.
_BATCHES = (2, 3)
# Of one sample: more than any camera gives, less than would fill a server.
MAX_INPUT_VALUES = 1 << 26


@dataclass(frozen=True)
class Value:
    """What a node computes.

    Attributes:
        kind: ``smashable`` for a float32 tensor whose first axis, and no other, is the
            batch; ``tensor`` for any other tensor, or several; ``batch`` for the number of
            samples; ``constant`` for a number that is the same for every batch; ``other``.
        shape: Of a tensor, without the batch axis where it has one.
        constant: The number, where it is one.
    """

    kind: Literal["smashable", "tensor", "batch", "constant", "other"]
    shape: tuple[int, ...] = ()
    constant: int | float | None = None


def graph_values(
    model: nn.Module, graph: fx.Graph, input_shape: tuple[int, ...]
) -> dict[str, Value]:
    """Run a graph on two small batches of zeros, and see what each node computes.

    Args:
        model: Where the graph's modules and tensors are; it is not changed.
        graph: A graph in training mode.
        input_shape: Shape of one sample.

    Returns:
        Name of a node -> its value.

    Raises:
        ExportError: The model cannot take such an input.
    """
    if math.prod(input_shape) > MAX_INPUT_VALUES:
        raise ExportError(
            f"the input has {math.prod(input_shape)} values a sample",
            f"at most {MAX_INPUT_VALUES} can be had",
        )
    model = copy.deepcopy(model).train()
    runs = [_run(model, graph, torch.zeros(batch, *input_shape)) for batch in _BATCHES]
    return {name: _value(*(run[name] for run in runs)) for name in runs[0]}


class _Recorder(fx.Interpreter):
    """Runs a graph and keeps shape and dtype of tensors, and whatever is no tensor."""

    def __init__(self, model: nn.Module, graph: fx.Graph) -> None:
        super().__init__(model, graph=graph)
        self.seen: dict[str, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        """Run one node."""
        value = super().run_node(n)
        tensor = isinstance(value, torch.Tensor)
        self.seen[n.name] = (tuple(value.shape), value.dtype) if tensor else value
        return value


def _run(model: nn.Module, graph: fx.Graph, x: torch.Tensor) -> dict[str, Any]:
    recorder = _Recorder(model, graph)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        try:
            recorder.run(x)
        # A forward is anyone's code, and anything may come out of it.
        except Exception as error:
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            shape = "x".join(map(str, x.shape[1:]))
            raise ExportError(
                f"the model cannot take an input of {shape}: {first}",
                "give the shape of one sample that the model was made for",
            ) from error
    return recorder.seen


def _value(first: Any, second: Any) -> Value:
    if isinstance(first, tuple) and len(first) == 2 and isinstance(first[1], torch.dtype):
        (shape, dtype), (other, _) = first, second
        batched = (*shape[:1], *other[:1]) == _BATCHES and shape[1:] == other[1:]
        if batched and dtype == torch.float32:
            return Value("smashable", shape[1:])
        return Value("tensor", shape[1:] if batched else shape)
    if any(isinstance(leaf, torch.Tensor) for leaf in tree_leaves(first)):
        return Value("tensor")
    if isinstance(first, int) and (first, second) == _BATCHES:
        return Value("batch")
    if isinstance(first, int | float) and first == second:
        return Value("constant", constant=first)
    return Value("other")

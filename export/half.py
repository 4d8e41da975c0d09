"""Front and back of a cut model, as modules that share its tensors and keep their names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import fx, nn


class Half(nn.Module):
    """A part of a model's graphs, one for each mode.

    Modules and tensors are those of the model, under the same paths, so ``state_dict`` names
    them as the model does. ``train()`` and ``eval()`` choose the graph, as some models
    compute different things in the two modes without a module that knows it.

    Args:
        model: The whole model.
        train: What to compute in training mode.
        evaluate: What to compute in evaluation mode.

    Attributes:
        graph: What it computes in training mode.
    """

    def __init__(self, model: nn.Module, train: fx.Graph, evaluate: fx.Graph) -> None:
        super().__init__()
        used = {
            str(node.target)
            for graph in (train, evaluate)
            for node in graph.nodes
            if node.op in {"call_module", "get_attr"}
        }
        stored = model.state_dict().keys()
        for path in _in_order(model, used):
            _mount(self, path, _at(model, path), stored=path in stored)
        self.graph = train
        self._kept: list[nn.Module] = []
        self._code = {True: _compiled(model, train), False: _compiled(model, evaluate)}

    def keep_evaluating(self, modules: Iterable[nn.Module]) -> None:
        """Leave modules in evaluation mode from now on, whatever mode the half is in.

        Args:
            modules: Some of its modules.
        """
        self._kept.extend(modules)
        self.train(self.training)

    def train(self, mode: bool = True) -> Half:
        """Choose the mode."""
        super().train(mode)
        for module in self._kept:
            module.eval()
        return self

    def forward(self, *inputs: torch.Tensor) -> Any:
        """Compute what the graph of the current mode does."""
        return self._code[self.training](self, *inputs)


def part(
    graph: fx.Graph,
    inside: set[fx.Node],
    takes: Sequence[fx.Node],
    gives: Sequence[fx.Node],
    constants: dict[fx.Node, int | float | None],
) -> fx.Graph:
    """Copy some nodes of a graph into a graph of their own.

    Args:
        graph: The graph.
        inside: The nodes to copy.
        takes: Nodes outside whose values become inputs, in order.
        gives: Nodes whose values are returned: one by itself, several as a tuple.
        constants: Nodes outside that are numbers: None for the batch's size, which is read
            from the first input.

    Returns:
        The copy.
    """
    copy = fx.Graph()
    inputs = [copy.placeholder(node.name) for node in takes]
    copies: dict[fx.Node, Any] = dict(zip(takes, inputs, strict=True))
    for node, value in copies.items():
        if node.op != "placeholder":
            # What follows may write into it, which torch refuses for what has a gradient.
            copies[node] = copy.call_method("clone", (value,))
    for node, number in constants.items():
        copies[node] = copy.call_method("size", (inputs[0], 0)) if number is None else number
    weights = {n for n in graph.nodes if n.op == "get_attr" and not inside.isdisjoint(n.users)}
    copied = inside | weights
    for node in graph.nodes:
        if node in copied and node.op != "output":
            copies[node] = copy.node_copy(node, copies.__getitem__)
    results = tuple(copies[node] for node in gives)
    copy.output(results[0] if len(results) == 1 else results)
    return copy


def _compiled(model: nn.Module, graph: fx.Graph) -> Callable[..., Any]:
    code: Callable[..., Any] = type(fx.GraphModule(model, graph)).forward
    return code


def _in_order(model: nn.Module, paths: set[str]) -> list[str]:
    """Paths in the order of the model's own modules and tensors."""
    names = [name for name, _ in model.named_modules()]
    names += [name for name, _ in model.named_parameters(remove_duplicate=False)]
    order = {name: index for index, name in enumerate(names)}
    return sorted(paths, key=lambda path: (_rank(path, order), path))


def _rank(path: str, order: dict[str, int]) -> int:
    while path not in order:
        path = path.rpartition(".")[0]
    return order[path]


def _at(model: nn.Module, path: str) -> Any:
    value: Any = model
    for name in path.split("."):
        value = getattr(value, name)
    return value


def _mount(half: nn.Module, path: str, value: Any, *, stored: bool) -> None:
    *containers, name = path.split(".")
    place = half
    for container in containers:
        if not isinstance(getattr(place, container, None), nn.Module):
            place.add_module(container, nn.Module())
        place = getattr(place, container)
    if isinstance(value, nn.Module):
        place.add_module(name, value)
    elif isinstance(value, nn.Parameter):
        place.register_parameter(name, value)
    elif isinstance(value, torch.Tensor):
        place.register_buffer(name, value, persistent=stored)
    else:
        setattr(place, name, value)

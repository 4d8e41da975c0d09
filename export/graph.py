"""A model as two torch.fx graphs, one a mode, whose places bear names that users know.

Residual connections, branches and concatenations are edges of these graphs, so that a cut
follows from what reads what and not from the order of modules.
"""

from __future__ import annotations

import copy
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from slfac.export.in_place import follow_writes
from slfac.export.modes import modules_that_differ
from slfac.export.values import Value, graph_values
from slfac.wire.errors import ExportError

# What a graph imported from elsewhere calls a node: see :mod:`slfac.export.onnx_model`.
PLACE = "cut"


@dataclass(frozen=True)
class ModelGraph:
    """What a model computes, as graphs over its own modules and tensors.

    Attributes:
        model: The model.
        train: Its graph in training mode; names of nodes are unique.
        evaluate: Its graph in evaluation mode.
        places: Every name that a user may give a node -> the node's own name. A module's
            path means the node that it returns.
        titles: Name of a node -> the shortest of its names.
        values: Name of a node of the training graph -> what it computes.
    """

    model: nn.Module
    train: fx.Graph
    evaluate: fx.Graph
    places: dict[str, str]
    titles: dict[str, str]
    values: dict[str, Value]


def trace_model(model: nn.Module, input_shape: tuple[int, ...]) -> ModelGraph:
    """Trace a model in both modes, and run it on two small batches.

    A submodule whose forward fx cannot follow stays whole: no cut can be taken inside it,
    and nothing else is lost. The model's mode is restored.

    Args:
        model: A module of one input, or a :class:`torch.fx.GraphModule`, taken as it is.
        input_shape: Shape of one sample.

    Returns:
        Its graphs.

    Raises:
        ExportError: The model's own forward cannot be followed, it does not take one
            tensor and return one, or it cannot take such an input.
    """
    evaluate, train, returned = _both_modes(model)
    nodes = [node for node in train.nodes if node.op not in {"output", "get_attr"}]
    titles = {node.name: node.meta.get(PLACE, _scoped(node)) for node in nodes}
    for path, node in sorted(returned.items(), key=lambda item: -len(item[0])):
        titles[node.name] = path
    places = {node.name: node.name for node in nodes}
    places.update({_scoped(node): node.name for node in nodes})
    places.update({path: node.name for path, node in returned.items()})
    places.update({title: name for name, title in titles.items()})
    values = graph_values(model, train, input_shape)
    return ModelGraph(model, train, evaluate, places, titles, values)


def input_node(graph: fx.Graph) -> fx.Node:
    """The one input of a graph.

    Args:
        graph: A model's graph.

    Returns:
        Its node.
    """
    found: fx.Node = next(node for node in graph.nodes if node.op == "placeholder")
    return found


def output_node(graph: fx.Graph) -> fx.Node:
    """The node whose value a graph returns.

    Args:
        graph: A model's graph.

    Returns:
        The node that computes it.
    """
    result: fx.Node = next(iter(reversed(graph.nodes))).args[0]
    return result


class _Tracer(fx.Tracer):
    """Follows a model's forward, and remembers which node each module returns.

    Args:
        opaque: Paths of the modules to keep whole.
    """

    def __init__(self, opaque: set[str]) -> None:
        super().__init__(param_shapes_constant=True)
        self._opaque = opaque
        self.returned: dict[str, fx.Node] = {}
        self.failed: str | None = None

    def create_args_for_root(
        self,
        root_fn: Callable[..., Any],
        is_module: bool,
        concrete_args: dict[str, Any] | tuple[Any, ...] | None = None,
    ) -> tuple[Callable[..., Any], list[Any]]:
        """One input; whatever else the forward takes keeps its default."""
        del is_module, concrete_args
        return root_fn, [self.root, self.create_proxy("placeholder", "x", (), {})]

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether a module stays whole: torch's own do, and those that fx cannot follow."""
        return module_qualified_name in self._opaque or super().is_leaf_module(
            m, module_qualified_name
        )

    def create_arg(self, a: Any) -> Any:
        """Tensors that the forward makes by itself: one attribute for equal ones.

        The graphs of both modes then name them alike.
        """
        if isinstance(a, torch.Tensor) and not isinstance(a, nn.Parameter):
            for name, held in vars(self.root).items():
                made = name.startswith("_tensor_constant") and isinstance(held, torch.Tensor)
                if made and held.dtype == a.dtype and torch.equal(held, a):
                    self.tensor_attrs.setdefault(a, name)
        return super().create_arg(a)

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Follow a module, and note what it returns."""
        path = self.path_of_module(m)
        try:
            result = super().call_module(m, forward, args, kwargs)
        except Exception:
            # The innermost module that fails is the one to keep whole.
            self.failed = self.failed or path
            raise
        if isinstance(result, fx.Proxy):
            calls = sum(name.partition("@")[0] == path for name in self.returned)
            self.returned[f"{path}@{calls}" if calls else path] = result.node
        return result


def _both_modes(model: nn.Module) -> tuple[fx.Graph, fx.Graph, dict[str, fx.Node]]:
    """Graphs in evaluation and in training; a module that differs in them stays whole."""
    training = model.training
    opaque: set[str] = set()
    try:
        while True:
            known = set(opaque)
            # Either adds the modules that it cannot follow, which the other may.
            evaluate, _ = _trace(model.eval(), opaque)
            train, returned = _trace(model.train(), opaque)
            opaque |= modules_that_differ(evaluate, train)
            if opaque == known:
                return evaluate, train, returned
    finally:
        model.train(training)


def _trace(model: nn.Module, opaque: set[str]) -> tuple[fx.Graph, dict[str, fx.Node]]:
    if isinstance(model, fx.GraphModule):
        graph: fx.Graph = copy.deepcopy(model.graph)
        returned: dict[str, fx.Node] = {}
    else:
        graph, returned = _follow(model, opaque)
    follow_writes(model, graph)
    inputs = sum(node.op == "placeholder" for node in graph.nodes)
    if inputs != 1 or not isinstance(output_node(graph), fx.Node):
        raise ExportError(
            "the model does not take one tensor, or does not return one",
            "wrap it in a module from one tensor to one tensor",
        )
    return graph, returned


def _scoped(node: fx.Node) -> str:
    """A node's name behind the path of the module that computes it."""
    stack = [path for path, _ in node.meta.get("nn_module_stack", {}).values() if path]
    return f"{stack[-1]}.{node.name}" if stack else node.name


def _follow(model: nn.Module, opaque: set[str]) -> tuple[fx.Graph, dict[str, fx.Node]]:
    """Trace a model, adding to ``opaque`` the modules that cannot be followed."""
    while True:
        tracer = _Tracer(opaque)
        try:
            return tracer.trace(model), tracer.returned
        # A forward is anyone's code, and anything may come out of it.
        except Exception as error:
            if tracer.failed is None or tracer.failed in opaque:
                raise _untraceable(model, error) from error
            opaque.add(tracer.failed)


def _untraceable(model: nn.Module, error: Exception) -> ExportError:
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return ExportError(
        f"the forward of {type(model).__name__} cannot be followed{_where(error)}: {first}",
        "do not branch or loop on tensors there, or move that part into a module of its own",
    )


def _where(error: Exception) -> str:
    """File and line of the model's code that failed: the last frame outside torch."""
    folder = str(torch.__path__[0])
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((folder, "<")) and frame.filename != __file__
    ]
    return f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""


def ancestors(nodes: Iterable[fx.Node]) -> set[fx.Node]:
    """The given nodes and all that they need.

    Args:
        nodes: Nodes of one graph.

    Returns:
        Those nodes and their inputs, and the inputs of these, and so on.
    """
    waiting, found = list(nodes), set()
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting.extend(node.all_input_nodes)
    return found

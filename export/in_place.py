"""Operations of a traced graph that write over their input, made visible as edges.

``y.add_(x)`` without a use of what it returns is no ancestor of what reads ``y`` later, and a
cut would leave it out. So later readers are led to read what the operation returns.
"""

from __future__ import annotations

import operator

from torch import fx, nn

from slfac.wire.errors import ExportError

_OPERATORS = {
    getattr(operator, name)
    for name in dir(operator)
    if name.startswith("i") and hasattr(operator, f"__{name}__")
} - {operator.inv, operator.invert, operator.index}
# What gives a view of its input, so that writing over the one changes the other.
_VIEWS = {
    "chunk", "detach", "diagonal", "expand", "expand_as", "flatten", "getitem", "movedim",
    "narrow", "permute", "ravel", "reshape", "select", "split", "squeeze", "swapaxes", "t",
    "transpose", "unbind", "unflatten", "unsqueeze", "unsqueeze_", "view", "view_as",
}  # fmt: skip


def follow_writes(model: nn.Module, graph: fx.Graph) -> None:
    """Lead later readers of a value that was written over to what wrote it.

    Args:
        model: Where the graph's modules are.
        graph: The graph, which is changed.

    Raises:
        ExportError: What is written over is a view of a value, or has one, that is read
            later: which edges that makes cannot be told.
    """
    order = {node: index for index, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        target = _written(model, node)
        if target is None:
            continue
        if target.op == "get_attr":
            _follow_attribute(graph, target, node, order)
        others = [
            relative
            for relative in sorted(_views(model, target) - {target, node}, key=order.__getitem__)
            if any(order[user] > order[node] for user in relative.users)
        ]
        if others:
            raise ExportError(
                f"{node.name!r} writes in place into {target.name!r}, which shares memory with "
                f"{others[0].name!r}, read later",
                "compute it without writing in place",
            )
        for user in list(target.users):
            if order[user] > order[node]:
                user.replace_input_with(target, node)


def _follow_attribute(
    graph: fx.Graph, attribute: fx.Node, writer: fx.Node, order: dict[fx.Node, int]
) -> None:
    """Lead later readers of a tensor of the model to what wrote it; each read has a node."""
    for node in graph.nodes:
        if (node.op, node.target) == ("get_attr", attribute.target) and order[node] > order[writer]:
            node.replace_all_uses_with(writer)


def _written(model: nn.Module, node: fx.Node) -> fx.Node | None:
    """The node whose value a node writes over."""
    if not node.args or not isinstance(node.args[0], fx.Node):
        return None
    name = _name(node)
    if node.op == "call_module":
        writes = bool(getattr(model.get_submodule(str(node.target)), "inplace", False))
    else:
        ends = name.endswith("_") and not name.endswith("__")
        writes = ends or node.target in _OPERATORS or bool(node.kwargs.get("inplace", False))
    return node.args[0] if writes else None


def _views(model: nn.Module, node: fx.Node) -> set[fx.Node]:
    """The nodes that may share memory with a node, itself among them."""
    found: set[fx.Node] = set()
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if one in found:
            continue
        found.add(one)
        if _shares(model, one):
            waiting.append(one.args[0])  # type: ignore[arg-type]
        waiting.extend(user for user in one.users if _shares(model, user) and user.args[0] is one)
    return found


def _shares(model: nn.Module, node: fx.Node) -> bool:
    if not node.args or not isinstance(node.args[0], fx.Node):
        return False
    if node.op == "call_module":
        return isinstance(
            model.get_submodule(str(node.target)), nn.Flatten | nn.Unflatten | nn.Identity
        )
    return _name(node) in _VIEWS


def _name(node: fx.Node) -> str:
    return str(getattr(node.target, "__name__", node.target))

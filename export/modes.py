"""Which modules compute with other operations in training than in evaluation."""

from __future__ import annotations

from collections import defaultdict

from torch import fx


def modules_that_differ(evaluate: fx.Graph, train: fx.Graph) -> set[str]:
    """Paths of the modules whose own operations differ between the modes.

    Stochastic depth, say, multiplies in training and does nothing in evaluation. A cut is
    the same operation in both modes, so that such a module must be one operation.

    Args:
        evaluate: A model's graph in evaluation mode.
        train: The same in training mode.

    Returns:
        The innermost such modules; the model itself is never among them.
    """
    first, second = _operations(evaluate), _operations(train)
    return {
        path for path in {*first, *second} if path and first.get(path, []) != second.get(path, [])
    }


def _operations(graph: fx.Graph) -> dict[str, list[tuple[str, str]]]:
    """Path of a module -> the operations of its own forward, in order."""
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for node in graph.nodes:
        stack = [path for path, _ in node.meta.get("nn_module_stack", {}).values()]
        if node.op == "call_module":
            # Its own entry is the last; it belongs to the module around it.
            stack = stack[:-1]
        found[stack[-1] if stack else ""].append((node.op, str(node.target)))
    return found

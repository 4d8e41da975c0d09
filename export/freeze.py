"""Parts of a front that training leaves as they are."""

from __future__ import annotations

from typing import Any

from torch import fx, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from slfac.export.cuts import Place, named_tensors
from slfac.export.graph import ModelGraph, ancestors
from slfac.wire.errors import ExportError


def freeze(
    graph: ModelGraph,
    place: Place,
    *,
    train_from: str | None,
    statistics: bool,
    head: Place | None = None,
) -> list[nn.Module]:
    """Freeze what comes before a node, or BatchNorm's statistics, or both.

    Args:
        graph: The model; it is changed.
        place: The cut. Only what devices train is frozen: the front, and the head's statistics.
        train_from: Module or node whose inputs, and all that they need, stay as they are
            and are computed as in evaluation mode; None for nothing.
        statistics: Whether every BatchNorm of the front and head normalises with its running
            statistics, and leaves them.
        head: The cut where the head begins; None where there is none.

    Raises:
        ExportError: ``train_from`` is not in the front, or what it freezes has weights
            that are used behind it as well.
    """
    front = [node for node in graph.train.nodes if node.name in place.front]
    frozen = _before(graph, front, train_from) if train_from is not None else set()
    trained = named_tensors(graph.model, (n for n in front if n not in frozen))
    for tensor, name in named_tensors(graph.model, (n for n in front if n in frozen)).items():
        if not isinstance(tensor, nn.Parameter):
            continue
        if tensor in trained:
            raise ExportError(
                f"what {train_from!r} needs and what follows it share {name!r}",
                "train from an earlier place",
            )
        tensor.requires_grad_(False)
    kept: list[nn.Module] = []
    last = [n for n in graph.train.nodes if head is not None and n.name not in head.front]
    for node in [*front, *last]:
        if node in frozen or statistics:
            kept += _evaluated(graph.model, node, only_batch_norm=node not in frozen)
    return kept


def _before(graph: ModelGraph, front: list[fx.Node], name: str) -> set[fx.Node]:
    starts = [node for node in front if name in _scopes(graph, node)]
    if not starts:
        raise ExportError(
            f"{name!r}, to train from, is not in the front", "give a module or node before the cut"
        )
    return ancestors(starts) - set(starts)


def _scopes(graph: ModelGraph, node: fx.Node) -> set[str]:
    """Every name that stands for a node: its own, and those of the modules around it."""
    paths = {path for path, _ in node.meta.get("nn_module_stack", {}).values()}
    return paths | {node.name, graph.titles.get(node.name, node.name)}


def _evaluated(model: nn.Module, node: fx.Node, *, only_batch_norm: bool) -> list[nn.Module]:
    """The modules to keep in evaluation mode for a node; a function is told by itself."""
    if node.op == "call_module":
        modules = model.get_submodule(str(node.target)).modules()
        return [m for m in modules if isinstance(m, _BatchNorm) or not only_batch_norm]
    if node.op == "call_function" and (node.target is functional.batch_norm or not only_batch_norm):
        arguments: Any = node.normalized_arguments(model, normalize_to_only_use_kwargs=True)
        if arguments is not None and "training" in arguments.kwargs:
            node.args, node.kwargs = (), {**arguments.kwargs, "training": False}
    return []

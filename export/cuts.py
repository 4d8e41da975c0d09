"""Where a model can be cut, and its two halves there.

A cut is named by a module or a node of the model's graph. The front is that node and all
that it needs; what the rest reads of it crosses the network, mostly the one tensor, and
several where a branch leaves the front earlier.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor, fx, nn

from slfac.export.graph import ModelGraph, ancestors, input_node, output_node
from slfac.export.half import Half, part
from slfac.wire.errors import ExportError

# What a manifest and a message can carry.
MAX_SMASHED = 8
# What the codecs take, with the batch axis.
_RANKS = (2, 3, 4)
_NUMBERS = {"batch", "constant"}


@dataclass(frozen=True)
class Place:
    """A legal cut.

    Attributes:
        name: Its name, a module's path or a node's.
        front: Names of the nodes of the front, in the training graph.
        smashed: Names of the nodes whose tensors cross, in the graph's order.
        shapes: Shape of each, without the batch axis.
    """

    name: str
    front: frozenset[str]
    smashed: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]


def legal_cuts(graph: ModelGraph) -> list[Place]:
    """Every place where a model can be cut.

    Args:
        graph: The model.

    Returns:
        The cuts, in the graph's order, each by its shortest name.
    """
    found = []
    for node in graph.train.nodes:
        if node.name in graph.titles and graph.values[node.name].kind == "smashable":
            try:
                found.append(_place(graph, node, graph.titles[node.name]))
            except ExportError:
                continue
    return found


def find_cut(graph: ModelGraph, name: str) -> Place:
    """The cut of a name.

    Args:
        graph: The model.
        name: A module's path or a node's name, such as ``layer1.0`` or ``cat_3``.

    Returns:
        The cut.

    Raises:
        ExportError: Nothing has that name, or the model cannot be cut there; the
            message says why.
    """
    node = next((n for n in graph.train.nodes if n.name == graph.places.get(name)), None)
    if node is None:
        raise ExportError(f"cut {name!r} is not in the model", _suggestion(name, legal_cuts(graph)))
    try:
        return _place(graph, node, name)
    except ExportError as error:
        raise ExportError(error.what, _suggestion(name, legal_cuts(graph))) from None


def find_head_cut(graph: ModelGraph, name: str, cut: Place) -> Place:
    """The second cut of a model, where its middle ends and its head begins.

    Args:
        graph: The model.
        name: A module's path or a node's name.
        cut: The first cut, where the front ends.

    Returns:
        The cut.

    Raises:
        ExportError: Nothing has that name, the model cannot be cut there, or the middle
            would hold nothing to train.
    """
    place = find_cut(graph, name)
    middle = [n for n in graph.train.nodes if n.name in place.front - cut.front]
    weights = named_tensors(graph.model, middle)
    if not cut.front < place.front or not any(isinstance(t, nn.Parameter) for t in weights):
        behind = [other for other in legal_cuts(graph) if cut.front < other.front]
        raise ExportError(
            f"head cut {name!r}: between it and cut {cut.name!r} is nothing to train",
            _suggestion(name, behind),
        )
    return place


def halves(graph: ModelGraph, place: Place) -> tuple[Half, Half]:
    """Front and back of a cut.

    Args:
        graph: The model.
        place: The cut.

    Returns:
        The front, from the input to the smashed tensors, and the back, from these to the
        output; both share the model's modules.

    Raises:
        ExportError: In evaluation mode the model computes something else up to there.
    """
    front, back = _parts(graph, [place])
    return front, back


def thirds(graph: ModelGraph, place: Place, head: Place) -> tuple[Half, Half, Half]:
    """Front, middle and head of two cuts.

    Args:
        graph: The model.
        place: The first cut.
        head: The second, as :func:`find_head_cut` gives it.

    Returns:
        The front, from the input to the smashed tensors; the middle, from these to the
        tensors that cross at the second cut; the head, from those to the output.

    Raises:
        ExportError: In evaluation mode the model computes something else up to a cut.
    """
    front, middle, last = _parts(graph, [place, head])
    return front, middle, last


def _parts(graph: ModelGraph, places: Sequence[Place]) -> list[Half]:
    """What lies before, between and behind cuts, each of which is behind the one before."""
    train = _part_graphs(graph, graph.train, places)
    evaluate = _part_graphs(graph, graph.evaluate, places)
    return [Half(graph.model, *graphs) for graphs in zip(train, evaluate, strict=True)]


def _part_graphs(graph: ModelGraph, whole: fx.Graph, places: Sequence[Place]) -> list[fx.Graph]:
    nodes = {node.name: node for node in whole.nodes}
    done = {input_node(whole)}
    takes = [input_node(whole)]
    numbers: dict[fx.Node, int | float | None] = {}
    graphs = []
    for place in places:
        inside = {nodes[name] for name in place.front if name in nodes}
        if len(inside) < len(place.front) or inside != ancestors(inside):
            raise ExportError(
                f"cut {place.name!r}: the model has other operations there in evaluation mode",
                "choose another cut",
            )
        smashed = [nodes[name] for name in place.smashed]
        graphs.append(part(whole, inside - done, takes, smashed, numbers))
        numbers = {
            node: graph.values[node.name].constant
            for node in _crossing(whole, inside)
            if graph.values[node.name].kind in _NUMBERS
        }
        done, takes = inside, smashed
    rest = set(whole.nodes) - done
    return [*graphs, part(whole, rest, takes, [output_node(whole)], numbers)]


def _place(graph: ModelGraph, node: fx.Node, name: str) -> Place:
    inside = _front(graph, node)
    smashed = [
        n for n in _crossing(graph.train, inside) if graph.values[n.name].kind not in _NUMBERS
    ]
    _check_smashed(graph, name, smashed)
    _check_training(graph, name, inside)
    return Place(
        name=name,
        front=frozenset(n.name for n in inside),
        smashed=tuple(n.name for n in smashed),
        shapes=tuple(graph.values[n.name].shape for n in smashed),
    )


def _front(graph: ModelGraph, node: fx.Node) -> set[fx.Node]:
    """A node, all that it needs, and what can be told from these without any tensor."""
    inside = ancestors([node])
    for other in graph.train.nodes:
        if (
            other.op not in {"placeholder", "get_attr", "output"}
            and graph.values[other.name].kind in {*_NUMBERS, "other"}
            and inside.issuperset(other.all_input_nodes)
        ):
            inside.add(other)
    return inside


def _crossing(graph: fx.Graph, inside: set[fx.Node]) -> list[fx.Node]:
    """Nodes inside that one outside reads, in the graph's order, but for weights."""
    return [
        node
        for node in graph.nodes
        if node in inside and node.op != "get_attr" and not inside.issuperset(node.users)
    ]


def _check_smashed(graph: ModelGraph, name: str, smashed: list[fx.Node]) -> None:
    if input_node(graph.train) in smashed:
        raise ExportError(f"cut {name!r}: the input itself would cross, unchanged")
    if not 1 <= len(smashed) <= MAX_SMASHED:
        raise ExportError(
            f"cut {name!r}: {len(smashed)} tensors would cross, of at most {MAX_SMASHED}"
        )
    for node in smashed:
        value = graph.values[node.name]
        if value.kind != "smashable" or len(value.shape) + 1 not in _RANKS or 0 in value.shape:
            raise ExportError(
                f"cut {name!r}: what crosses at {node.name!r} is no float32 tensor of two to "
                "four axes with the batch first"
            )


def _check_training(graph: ModelGraph, name: str, inside: set[fx.Node]) -> None:
    """Both halves must have something to train, and none of it in common."""
    nodes = list(graph.train.nodes)
    outside = [
        n
        for n in nodes
        if n not in inside or (n.op == "get_attr" and not inside.issuperset(n.users))
    ]
    front = named_tensors(graph.model, [n for n in nodes if n in inside])
    back = named_tensors(graph.model, outside)
    shared = [tensor for tensor in front if tensor in back]
    if shared:
        raise ExportError(
            f"cut {name!r}: {front[shared[0]]!r} would be in the front and in the back"
        )
    for half, tensors in (("front", front), ("back", back)):
        if not any(isinstance(tensor, nn.Parameter) for tensor in tensors):
            raise ExportError(f"cut {name!r}: the {half} would have nothing to train")


def named_tensors(model: nn.Module, nodes: Iterable[fx.Node]) -> dict[Tensor, str]:
    """What training may change of some nodes' tensors: parameters, and modules' buffers.

    Args:
        model: Where the nodes' modules and tensors are.
        nodes: The nodes, in an order that is the same in every run.

    Returns:
        Tensor -> the first of its names, in the nodes' order.
    """
    found: dict[Tensor, str] = {}
    for node in nodes:
        path = str(node.target)
        if node.op == "call_module":
            module = model.get_submodule(path)
            for name, tensor in (*module.named_parameters(), *module.named_buffers()):
                found.setdefault(tensor, f"{path}.{name}")
        elif node.op == "get_attr":
            value = model.get_submodule(path.rpartition(".")[0])
            tensor = getattr(value, path.rpartition(".")[2])
            if isinstance(tensor, nn.Parameter):
                found.setdefault(tensor, path)
    return found


def _suggestion(name: str, cuts: list[Place]) -> str:
    names = [cut.name for cut in cuts if len(cut.smashed) == 1]
    near = difflib.get_close_matches(name, names, n=4, cutoff=0.4) or names[:12]
    return f"choose one of {', '.join(near)}" if near else "this model has no cut"

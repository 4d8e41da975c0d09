"""What a cut would cost a board: weights, computing, memory and bytes."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import msgspec
import torch
from torch import fx, nn
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from slfac.export.cuts import Place
from slfac.export.graph import ModelGraph
from slfac.export.traffic import Traffic
from slfac.wire.costs import Costs, Layer, LayerKind

# Of the run that counts; BatchNorm over a single pixel needs two.
_BATCH = 2


def _attention_flop(
    query: tuple[int, ...], key: tuple[int, ...], value: tuple[int, ...], *_: Any, **__: Any
) -> int:
    """Operations of attention, of shapes, as torch's own counter has them of accelerators alone."""
    return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]


_MORE_FLOPS = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flop}


@dataclass(frozen=True)
class Cut:
    """A place where a model can be cut, and what it would mean.

    Attributes:
        name: Its name, for ``--cut``.
        smashed_shapes: Shape of each tensor that crosses, without the batch axis.
        front_parameters: Trainable values of the front.
        forward_flops: Floating-point operations of the front's forward pass, a sample:
            twice the multiply-adds of convolutions and matrix products, and nothing else.
        backward_flops: The same of its backward pass.
        share: Both, as a share of the whole model's.
        residual_bytes: What torch holds between the two for one sample. The graphs of a
            bundle hold about as much.
        costs: All of it, layer by layer.
    """

    name: str
    smashed_shapes: tuple[tuple[int, ...], ...]
    front_parameters: int
    forward_flops: int
    backward_flops: int
    share: float
    residual_bytes: int
    costs: Costs

    @property
    def smashed_bytes(self) -> int:
        """Bytes of one sample's smashed data in float32, before any codec."""
        return 4 * sum(math.prod(shape) for shape in self.smashed_shapes)


def describe_cuts(
    graph: ModelGraph, places: list[Place], input_shape: tuple[int, ...]
) -> list[Cut]:
    """Measure cuts by one run of the whole model.

    Args:
        graph: The model; it is not changed.
        places: The cuts.
        input_shape: Shape of one sample.

    Returns:
        One description each.
    """
    counter = _count(graph, input_shape)
    total = sum(counter.forward.values()) + sum(counter.backward.values())
    return [_describe(graph, counter, place, total) for place in places]


def front_costs(
    graph: ModelGraph, place: Place, input_shape: tuple[int, ...], *, recompute: bool = False
) -> Costs:
    """Count what a front costs by one run of the whole model.

    Args:
        graph: The model; it is not changed. What of it is frozen has no gradient.
        place: The cut.
        input_shape: Shape of one sample.
        recompute: Whether the backward pass runs the forward pass anew, so that nothing but the
            front's input is held between the two.

    Returns:
        The costs.
    """
    costs = _costs(graph, _count(graph, input_shape), place)
    if not recompute:
        return costs
    replace = msgspec.structs.replace
    layers = tuple(
        replace(
            layer,
            backward_flop=layer.backward_flop + layer.forward_flop,
            backward_bytes=layer.backward_bytes + layer.forward_bytes,
        )
        for layer in costs.layers
    )
    return replace(costs, layers=layers, residual_bytes=4 * math.prod(input_shape))


def _count(graph: ModelGraph, input_shape: tuple[int, ...]) -> _Counter:
    counter = _Counter(copy.deepcopy(graph.model).train(), graph.train)
    with torch.random.fork_rng(devices=[]), counter.hooks:
        counter.run(torch.zeros(_BATCH, *input_shape))
    return counter


def _costs(graph: ModelGraph, counter: _Counter, place: Place) -> Costs:
    seen: set[nn.Parameter] = set()
    layers = []
    for node in graph.train.nodes:
        if node.name not in place.front:
            continue
        weights = {p for p in counter.weights[node.name] if p.requires_grad} - seen
        seen |= weights
        layer = Layer(
            name=graph.titles.get(node.name, node.name)[:256],
            kind=counter.kinds[node.name],
            forward_flop=counter.forward[node.name] // _BATCH,
            backward_flop=counter.backward[node.name] // _BATCH,
            forward_bytes=counter.read[node.name] // _BATCH,
            backward_bytes=counter.read_back[node.name] // _BATCH,
            weight_bytes=sum(p.numel() * p.element_size() for p in weights),
        )
        if layer.forward_bytes or layer.forward_flop or layer.weight_bytes:
            layers.append(layer)
    return Costs(layers=tuple(layers), residual_bytes=counter.residual_bytes(place))


def _describe(graph: ModelGraph, counter: _Counter, place: Place, total: int) -> Cut:
    forward = sum(counter.forward[name] for name in place.front) // _BATCH
    backward = sum(counter.backward[name] for name in place.front) // _BATCH
    weights = {p: p.numel() for name in place.front for p in counter.weights[name]}
    return Cut(
        name=place.name,
        smashed_shapes=place.shapes,
        front_parameters=sum(weights.values()),
        forward_flops=forward,
        backward_flops=backward,
        share=(forward + backward) * _BATCH / total if total else 0.0,
        residual_bytes=counter.residual_bytes(place),
        costs=_costs(graph, counter, place),
    )


class _Counter(fx.Interpreter):
    """Runs a graph, and keeps for each node its operations, weights and saved tensors.

    Attributes:
        hooks: To be entered around the run.
        forward: Name of a node -> operations.
        backward: Name of a node -> operations of its gradients.
        saved: Name of a node -> storage that it saves for its gradients -> bytes.
        weights: Name of a node -> parameters that it uses.
        kinds: Name of a node -> what it mostly does.
        read: Name of a node -> bytes of activations that it reads and writes.
        read_back: The same of its gradients. A gradient of a product reads and writes as much
            as the product; any other reads the gradient and what was saved for it, and writes
            one as large as its inputs.
    """

    def __init__(self, model: nn.Module, graph: fx.Graph) -> None:
        super().__init__(model, graph=graph)
        self.hooks = torch.autograd.graph.saved_tensors_hooks(self._save, lambda kept: kept)
        self._node = ""
        self._owned = {p.untyped_storage().data_ptr() for p in model.parameters()}
        self.forward: dict[str, int] = {}
        self.backward: dict[str, int] = {}
        self.saved: dict[str, dict[int, int]] = {}
        self.weights: dict[str, list[nn.Parameter]] = {}
        self.kinds: dict[str, LayerKind] = {}
        self.read: dict[str, int] = {}
        self.read_back: dict[str, int] = {}

    def residual_bytes(self, place: Place) -> int:
        """What a front holds for its gradients, a sample."""
        saved = {key: size for name in place.front for key, size in self.saved[name].items()}
        return sum(saved.values()) // _BATCH

    def run_node(self, n: fx.Node) -> Any:
        """Run one node."""
        self._node = n.name
        self.saved[n.name] = {}
        inputs = [self.env[node] for node in n.all_input_nodes]
        # A gradient of a product costs as much as the product: one for each factor.
        factors = sum(isinstance(value, torch.Tensor) and value.requires_grad for value in inputs)
        traffic = Traffic(self._owned)
        with FlopCounterMode(display=False, custom_mapping=_MORE_FLOPS) as flops, traffic:
            value = super().run_node(n)
        self.weights[n.name] = self._weights(n, value)
        trained = any(p.requires_grad for p in self.weights[n.name])
        if n.op == "call_module" and trained:
            factors += 1
        self.forward[n.name] = flops.get_total_flops()
        self.backward[n.name] = flops.get_total_flops() * min(factors, 2)
        self.kinds[n.name] = traffic.kind(flops.get_flop_counts().get("Global", {}))
        self.read[n.name] = traffic.bytes
        if self.forward[n.name]:
            self.read_back[n.name] = traffic.bytes * min(factors, 2)
        else:
            saved = sum(self.saved[n.name].values())
            self.read_back[n.name] = traffic.bytes + saved if factors and traffic.bytes else 0
        return value

    def _weights(self, n: fx.Node, value: Any) -> list[nn.Parameter]:
        if n.op == "call_module":
            return list(self.module.get_submodule(str(n.target)).parameters())
        return [leaf for leaf in tree_leaves(value) if isinstance(leaf, nn.Parameter)]

    def _save(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._owned:
            self.saved[self._node][storage.data_ptr()] = storage.nbytes()
        return tensor

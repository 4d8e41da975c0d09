"""What a cut would cost a board: weights, computing, memory and bytes."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from slfac.export.cuts import Place
from slfac.export.graph import ModelGraph

# Of the run that counts; BatchNorm over a single pixel needs two.
_BATCH = 2


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
    """

    name: str
    smashed_shapes: tuple[tuple[int, ...], ...]
    front_parameters: int
    forward_flops: int
    backward_flops: int
    share: float
    residual_bytes: int

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
    counter = _Counter(copy.deepcopy(graph.model).train(), graph.train)
    with torch.random.fork_rng(devices=[]), counter.hooks:
        counter.run(torch.zeros(_BATCH, *input_shape))
    total = sum(counter.forward.values()) + sum(counter.backward.values())
    return [_describe(counter, place, total) for place in places]


def _describe(counter: _Counter, place: Place, total: int) -> Cut:
    forward = sum(counter.forward[name] for name in place.front) // _BATCH
    backward = sum(counter.backward[name] for name in place.front) // _BATCH
    saved = {key: size for name in place.front for key, size in counter.saved[name].items()}
    weights = {p: p.numel() for name in place.front for p in counter.weights[name]}
    return Cut(
        name=place.name,
        smashed_shapes=place.shapes,
        front_parameters=sum(weights.values()),
        forward_flops=forward,
        backward_flops=backward,
        share=(forward + backward) * _BATCH / total if total else 0.0,
        residual_bytes=sum(saved.values()) // _BATCH,
    )


class _Counter(fx.Interpreter):
    """Runs a graph, and keeps for each node its operations, weights and saved tensors.

    Attributes:
        hooks: To be entered around the run.
        forward: Name of a node -> operations.
        backward: Name of a node -> operations of its gradients.
        saved: Name of a node -> storage that it saves for its gradients -> bytes.
        weights: Name of a node -> parameters that it uses.
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

    def run_node(self, n: fx.Node) -> Any:
        """Run one node."""
        self._node = n.name
        self.saved[n.name] = {}
        inputs = [self.env[node] for node in n.all_input_nodes]
        # A gradient of a product costs as much as the product: one for each factor.
        factors = sum(isinstance(value, torch.Tensor) and value.requires_grad for value in inputs)
        with FlopCounterMode(display=False) as flops:
            value = super().run_node(n)
        self.weights[n.name] = self._weights(n, value)
        if n.op == "call_module" and self.weights[n.name]:
            factors += 1
        self.forward[n.name] = flops.get_total_flops()
        self.backward[n.name] = flops.get_total_flops() * min(factors, 2)
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

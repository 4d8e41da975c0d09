"""What there is to do in a phase of a training step, whatever the board."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from slfac.wire.costs import Costs, Layer

FrontPhase = Literal["forward", "backward", "update"]
FRONT_PHASES: Final[tuple[FrontPhase, ...]] = ("forward", "backward", "update")
#: Kinds of layers of which products have a speed of their own.
PRODUCTS: Final = ("conv", "depthwise", "matmul")


@dataclass(frozen=True)
class Work:
    """What a phase does with a batch.

    Attributes:
        conv_gflop: 10**9 operations of convolutions, depthwise ones left out.
        depthwise_gflop: The same of depthwise convolutions.
        matmul_gflop: The same of products of matrices.
        gb: 10**9 bytes that are read and written; in the phase ``update``, of weights.
        layers: Layers with weights, each of which has an update of its own; none in other phases.
    """

    conv_gflop: float
    depthwise_gflop: float
    matmul_gflop: float
    gb: float
    layers: int = 0

    @property
    def gflop(self) -> float:
        """Operations of all products."""
        return self.conv_gflop + self.depthwise_gflop + self.matmul_gflop


def work_of(costs: Costs, batch: int, phase: FrontPhase) -> Work:
    """What a phase does.

    Args:
        costs: What the front costs.
        batch: Samples in the batch.
        phase: Which phase. The backward pass reads weights and writes their gradients.

    Returns:
        All of it.
    """
    if phase == "update":
        layers = sum(layer.weight_bytes > 0 for layer in costs.layers)
        return Work(0.0, 0.0, 0.0, 1e-9 * costs.weight_bytes, layers)
    conv, depthwise, matmul = (
        1e-9 * batch * sum(_flop(layer, phase) for layer in costs.layers if layer.kind == kind)
        for kind in PRODUCTS
    )
    moved = batch * sum(_bytes(layer, phase) for layer in costs.layers)
    weights = costs.weight_bytes * (1 if phase == "forward" else 2)
    return Work(conv, depthwise, matmul, 1e-9 * (moved + weights))


def _flop(layer: Layer, phase: FrontPhase) -> int:
    return layer.forward_flop if phase == "forward" else layer.backward_flop


def _bytes(layer: Layer, phase: FrontPhase) -> int:
    return layer.forward_bytes if phase == "forward" else layer.backward_bytes

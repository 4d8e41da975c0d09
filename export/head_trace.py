"""One training step of a head as one ONNX graph: from what the middle gives to the loss.

The step is ``outputs of the middle, target, random numbers, parameters, buffers -> mean loss,
gradients of those outputs and of the parameters, new running statistics``.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from slfac.export.draws import list_draws
from slfac.export.half import Half
from slfac.export.refusals import refuse_untrainable
from slfac.export.to_onnx import quiet_torch
from slfac.export.trace import (
    TRACE_BATCH,
    HalfStep,
    StepTrace,
    example_draws,
    fake_trace,
    step_graph,
)
from slfac.wire.manifest import Loss, RandomSpec, TensorSpec

MIDDLE = "middle"
TARGET = "target"
LOSS = "loss"
# Of the evaluation-mode head.
OUTPUT = "output"
# The front's begin with "random", and both are fed from one draw.
_RANDOM = "head_random"


@dataclass(frozen=True)
class HeadTrace(StepTrace):
    """A training step of a head.

    Inputs: what the middle gives, the target, random numbers, parameters and buffers. Outputs:
    the loss, the gradients, the new buffers.

    Attributes:
        target: The input that takes the targets.
        loss: The output that holds the mean loss.
        input_gradients: What the middle gives, in order -> output that holds its gradient.
    """

    target: str
    loss: str
    input_gradients: dict[str, str]


def middle_names(count: int) -> list[str]:
    """What the graphs call the tensors that the middle gives.

    Args:
        count: How many there are.

    Returns:
        Their names, in order.
    """
    return [MIDDLE, *(f"{MIDDLE}.{index}" for index in range(1, count))]


def trace_head(head: Half, inputs: Sequence[TensorSpec], loss: Loss, num_outputs: int) -> HeadTrace:
    """Trace one training step of a head.

    Args:
        head: The head, in the modes that its modules train in.
        inputs: What it takes, as :func:`middle_names` names them.
        loss: Name of the loss.
        num_outputs: Width of its output.

    Returns:
        The step as one graph.

    Raises:
        ExportError: A step of the head does what no graph of it could.
        Exception: Whatever torch raises on an operator that it cannot translate; see
            :func:`slfac.export.culprit.named_culprit`.
    """
    head = copy.deepcopy(head)
    shapes = [spec.shape for spec in inputs]
    with quiet_torch():
        refuse_untrainable(head, *shapes)
        random = list_draws(head, *shapes, prefix=_RANDOM)
        step = _HeadStep(head, random, shapes, loss, num_outputs)
        graph = fake_trace(step, step.arguments, step.batched)
    input_gradients = {spec.name: f"{spec.name}_gradient" for spec in inputs}
    gradients = {name: f"gradient.{name}" for name in step.trained}
    new_buffers = {name: f"new.{name}" for name in step.updated}
    takes = [*input_gradients, TARGET, *(spec.name for spec in random), *step.state]
    gives = [LOSS, *input_gradients.values(), *gradients.values(), *new_buffers.values()]
    return HeadTrace(
        model=step_graph(graph, step, takes, gives),
        random=random,
        gradients=gradients,
        new_buffers=new_buffers,
        frozen=tuple(step.frozen),
        target=TARGET,
        loss=LOSS,
        input_gradients=input_gradients,
    )


def mean_loss(loss: Loss, output: Tensor, target: Tensor) -> Tensor:
    """The loss of a batch, by operators that translate to ONNX.

    Args:
        loss: Its name.
        output: ``(B, num_outputs)``.
        target: ``(B,) int64`` for cross_entropy, ``(B, num_outputs)`` otherwise.

    Returns:
        The mean over the samples, ``()``.
    """
    if loss == "cross_entropy":
        classes = torch.arange(output.shape[1])
        chosen = (target.unsqueeze(1) == classes).to(output.dtype)
        return -(functional.log_softmax(output, 1) * chosen).sum(1).mean()
    if loss == "bce_with_logits":
        return (functional.softplus(output) - output * target).mean()
    return (output - target).square().mean()


class _HeadStep(HalfStep):
    """What the middle gives, the target, random numbers, then ``state``."""

    def __init__(
        self,
        head: nn.Module,
        random: Sequence[RandomSpec],
        shapes: Sequence[tuple[int, ...]],
        loss: Loss,
        num_outputs: int,
    ) -> None:
        super().__init__(head, random)
        self._loss = loss
        self._inputs = len(shapes)
        inputs = [torch.zeros(TRACE_BATCH, *shape) for shape in shapes]
        draws = example_draws(random)
        made, statistics = self._forward(inputs, draws, {})
        self._sort(made, statistics)
        target = torch.zeros(TRACE_BATCH, dtype=torch.int64)
        if loss != "cross_entropy":
            target = torch.zeros(TRACE_BATCH, num_outputs)
        weights = self._weights()
        self.arguments = [*inputs, target, *draws, *weights]
        self.batched = [
            *[True] * (len(inputs) + 1),
            *(spec.per_sample for spec in random),
            *[False] * len(weights),
        ]

    def __call__(self, *values: Tensor) -> tuple[Tensor, ...]:
        inputs = [value.detach().requires_grad_() for value in values[: self._inputs]]
        target, *rest = values[self._inputs :]
        draws, weights = rest[: self._draws], rest[self._draws :]
        given, trained = self._given(weights)
        (output,), fresh = self._forward(inputs, draws, given)
        loss = mean_loss(self._loss, output, target)
        wanted = [*inputs, *trained.values()]
        found: Sequence[Tensor | None] = torch.autograd.grad(loss, wanted, allow_unused=True)
        # What the head reads without training on it still has to cross.
        made = [
            torch.zeros_like(tensor) if gradient is None else gradient
            for tensor, gradient in zip(wanted, found, strict=True)
        ]
        new = [fresh[name] for name in self.updated]
        return tuple(tensor.detach() for tensor in (loss, *made, *new))

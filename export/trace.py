"""One training step of a front as one ONNX graph, by way of a joint ATen trace.

The step is ``x, random numbers, parameters, buffers, gradients of the smashed data ->
smashed data, gradients of the parameters, new running statistics``, with every tensor an
argument and only the batch axis symbolic.
"""

from __future__ import annotations

import abc
import copy
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx
import torch
from torch import Tensor, nn
from torch._dynamo.source import ConstantSource
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import (
    DimDynamic,
    ShapeEnv,
    StatelessSymbolicContext,
)
from torch.nn.attention import SDPBackend, sdpa_kernel

from slfac.export.attention import PlainAttention
from slfac.export.batchnorm import BatchStatistics
from slfac.export.decompositions import decomposition_table
from slfac.export.draws import GivenDraws, list_draws
from slfac.export.half import Half
from slfac.export.refusals import refuse_untrainable
from slfac.export.to_onnx import BATCH, quiet_torch, to_onnx
from slfac.wire.errors import ExportError
from slfac.wire.manifest import RandomSpec

X = "x"
SMASHED = "smashed"
# The batch that the trace runs with; any number that no other axis is likely to have.
TRACE_BATCH = 5


@dataclass(frozen=True)
class StepTrace:
    """A training step of a front or head as one ONNX graph.

    Attributes:
        model: Its inputs are named tensors of the step, parameters and float buffers by their
            names in torch.
        random: The random numbers that it takes.
        gradients: Parameter name -> output that holds its gradient.
        new_buffers: Buffer name -> output that holds its new value.
        frozen: Parameters and buffers that no step changes.
    """

    model: onnx.ModelProto
    random: tuple[RandomSpec, ...]
    gradients: dict[str, str]
    new_buffers: dict[str, str]
    frozen: tuple[str, ...]


@dataclass(frozen=True)
class JointTrace(StepTrace):
    """A training step of a front.

    Inputs: ``x``, random numbers, gradients of the smashed data, parameters and buffers.
    Outputs: smashed data, the gradients, the new buffers.

    Attributes:
        smashed: Smashed tensor, in order -> input that takes its gradient.
    """

    smashed: dict[str, str]


def smashed_names(count: int) -> list[str]:
    """What the graphs call the tensors that cross.

    Args:
        count: How many there are.

    Returns:
        Their names, in order.
    """
    return [SMASHED, *(f"{SMASHED}.{index}" for index in range(1, count))]


def trace_training_step(front: Half, input_shape: tuple[int, ...]) -> JointTrace:
    """Trace one training step of a front.

    Args:
        front: The front, in the modes that its modules train in; parameters that do not
            require gradients stay as they are.
        input_shape: Shape of one sample.

    Returns:
        The step as one graph, not yet cut.

    Raises:
        ExportError: A step of the front does what no graph of it could.
        Exception: Whatever torch raises on an operator that it cannot translate; see
            :func:`slfac.export.culprit.named_culprit`.
    """
    front = copy.deepcopy(front)
    with quiet_torch():
        refuse_untrainable(front, input_shape)
        random = list_draws(front, input_shape)
        step = _FrontStep(front, random, input_shape)
        graph = fake_trace(step, step.arguments, step.batched)
    smashed = {name: f"{name}_gradient" for name in smashed_names(len(step.smashed))}
    gradients = {name: f"gradient.{name}" for name in step.trained}
    new_buffers = {name: f"new.{name}" for name in step.updated}
    inputs = [X, *smashed.values(), *(spec.name for spec in random), *step.state]
    outputs = [*smashed, *gradients.values(), *new_buffers.values()]
    return JointTrace(
        model=step_graph(graph, step, inputs, outputs),
        random=random,
        gradients=gradients,
        new_buffers=new_buffers,
        frozen=tuple(step.frozen),
        smashed=smashed,
    )


class HalfStep(abc.ABC):
    """A training step as a function of tensors, with example arguments for it.

    Args:
        half: The front or head.
        random: What it draws.

    Attributes:
        trained: Names of the parameters that get gradients.
        updated: Names of the buffers that get new values.
        frozen: Names of the other float parameters and buffers.
        arguments: Examples of what it takes; the last are ``state``.
        batched: Which arguments have a batch axis.
    """

    arguments: list[Tensor]
    batched: list[bool]

    def __init__(self, half: nn.Module, random: Sequence[RandomSpec]) -> None:
        self._half = half
        self._draws = len(random)
        self._tensors = {**dict(half.named_parameters()), **dict(half.named_buffers())}
        self.trained: list[str] = []
        self.updated: list[str] = []
        self.frozen: list[str] = []

    @property
    def state(self) -> list[str]:
        """Names of its parameters and buffers, in the order of the arguments."""
        return [*self.trained, *self.updated, *self.frozen]

    @abc.abstractmethod
    def __call__(self, *values: Tensor) -> tuple[Tensor, ...]:
        """Make the step."""

    def _sort(self, made: Sequence[Tensor], statistics: dict[str, Tensor]) -> None:
        """Tell what a gradient of what was made gets to, and what is updated."""
        self.trained = self._reached(made)
        self.updated = list(statistics)
        stored = [name for name in self._half.state_dict() if name in self._tensors]
        self.frozen = [
            name
            for name in stored
            if name not in {*self.trained, *self.updated}
            and self._tensors[name].is_floating_point()
        ]

    def _weights(self) -> list[Tensor]:
        return [self._tensors[name].detach() for name in self.state]

    def _given(self, weights: Sequence[Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """All tensors by name, and those of them that get gradients."""
        given = dict(zip(self.state, weights, strict=True))
        trained = {name: given[name].detach().requires_grad_() for name in self.trained}
        return {**given, **trained}, trained

    def _forward(
        self, inputs: Sequence[Tensor], draws: Sequence[Tensor], given: dict[str, Tensor]
    ) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
        statistics = BatchStatistics({**self._tensors, **given})
        with statistics, PlainAttention(), GivenDraws(draws):
            y = torch.func.functional_call(self._half, given, tuple(inputs))
        return (y if isinstance(y, tuple) else (y,)), statistics.fresh

    def _reached(self, made: Sequence[Tensor]) -> list[str]:
        """The parameters that a gradient of what was made gets to."""
        wanted = {name: p for name, p in self._half.named_parameters() if p.requires_grad}
        total = torch.stack([tensor.sum() for tensor in made]).sum()
        if not total.requires_grad:
            return []
        found: Sequence[Tensor | None] = torch.autograd.grad(
            total, list(wanted.values()), allow_unused=True
        )
        return [name for name, gradient in zip(wanted, found, strict=True) if gradient is not None]


class _FrontStep(HalfStep):
    """``x``, gradients of the smashed data, random numbers, then ``state``.

    Attributes:
        smashed: Examples of what crosses.
    """

    def __init__(
        self, front: nn.Module, random: Sequence[RandomSpec], input_shape: tuple[int, ...]
    ) -> None:
        super().__init__(front, random)
        x = torch.zeros(TRACE_BATCH, *input_shape)
        draws = example_draws(random)
        self.smashed, statistics = self._forward([x], draws, {})
        self._sort(self.smashed, statistics)
        if not self.trained:
            raise ExportError("the front has nothing to train", "choose a later cut")
        gradients = [torch.zeros_like(tensor) for tensor in self.smashed]
        weights = self._weights()
        self.arguments = [x, *gradients, *draws, *weights]
        self.batched = [
            *[True] * (1 + len(gradients)),
            *(spec.per_sample for spec in random),
            *[False] * len(weights),
        ]

    def __call__(self, *values: Tensor) -> tuple[Tensor, ...]:
        x, *rest = values
        gradients, rest = rest[: len(self.smashed)], rest[len(self.smashed) :]
        draws, weights = rest[: self._draws], rest[self._draws :]
        given, trained = self._given(weights)
        smashed, fresh = self._forward([x], draws, given)
        made = torch.autograd.grad(smashed, list(trained.values()), gradients)
        new = [fresh[name] for name in self.updated]
        return tuple(tensor.detach() for tensor in (*smashed, *made, *new))


def example_draws(random: Sequence[RandomSpec]) -> list[Tensor]:
    """Random numbers to trace with.

    Args:
        random: What is drawn.

    Returns:
        A tensor for each.
    """
    return [
        torch.full((TRACE_BATCH, *spec.shape) if spec.per_sample else spec.shape, 0.5)
        for spec in random
    ]


def step_graph(
    graph: GraphModule, step: HalfStep, inputs: Sequence[str], outputs: Sequence[str]
) -> onnx.ModelProto:
    """Translate a traced step to ONNX.

    Args:
        graph: The trace.
        step: What was traced.
        inputs: A name for each argument.
        outputs: A name for each output.

    Returns:
        The graph.

    Raises:
        ExportError: A tensor of the half has the name of something else.
    """
    doubled = [name for name, count in Counter([*inputs, *outputs]).items() if count > 1]
    if doubled:
        raise ExportError(
            f"a parameter or buffer named {doubled[0]!r} clashes with what the graphs call theirs",
            "rename it",
        )
    shapes = tuple({0: BATCH} if batched else None for batched in step.batched)
    return to_onnx(graph, step.arguments, shapes, inputs=inputs, outputs=outputs, tidy=True)


def fake_trace(
    step: Callable[..., tuple[Tensor, ...]], arguments: list[Tensor], batched: list[bool]
) -> GraphModule:
    """Trace on tensors without data.

    Args:
        step: What to trace.
        arguments: Examples of what it takes.
        batched: Which of them have the batch as their axis 0.

    Returns:
        The trace, of torch's basic operators.
    """
    mode = FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)
    fakes = []
    for index, (value, grows) in enumerate(zip(arguments, batched, strict=True)):
        sizes = [DimDynamic.STATIC] * value.dim()
        if grows:
            sizes[0] = DimDynamic.DUCK
        fakes.append(
            mode.from_tensor(
                value,
                static_shapes=False,
                source=ConstantSource(f"argument{index}"),
                symbolic_context=StatelessSymbolicContext(dynamic_sizes=sizes),
            )
        )
    # The other kinds of attention have no ONNX translation of their gradients.
    with sdpa_kernel(SDPBackend.MATH):
        graph = make_fx(step, decomposition_table(), tracing_mode="symbolic")(*fakes)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph

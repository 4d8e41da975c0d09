"""One training step of a front as one ONNX graph, by way of a joint ATen trace.

The step is ``x, random numbers, parameters, buffers, gradients of the smashed data ->
smashed data, gradients of the parameters, new running statistics``, with every tensor an
argument and only the batch axis symbolic.
"""

from __future__ import annotations

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
_TRACE_BATCH = 5


@dataclass(frozen=True)
class JointTrace:
    """A training step as one ONNX graph.

    Attributes:
        model: Inputs: ``x``, random numbers, gradients of the smashed data, parameters and
            float buffers by their names in torch. Outputs: smashed data, the gradients, the
            new buffers.
        smashed: Smashed tensor, in order -> input that takes its gradient.
        random: The random numbers that it takes.
        gradients: Parameter name -> output that holds its gradient.
        new_buffers: Buffer name -> output that holds its new value.
        frozen: Parameters and buffers that no step changes.
    """

    model: onnx.ModelProto
    smashed: dict[str, str]
    random: tuple[RandomSpec, ...]
    gradients: dict[str, str]
    new_buffers: dict[str, str]
    frozen: tuple[str, ...]


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
        step = _Step(front, random, input_shape)
        graph = _fake_trace(step, step.arguments, step.batched)
    smashed = {name: f"{name}_gradient" for name in smashed_names(len(step.smashed))}
    gradients = {name: f"gradient.{name}" for name in step.trained}
    new_buffers = {name: f"new.{name}" for name in step.updated}
    inputs = [X, *smashed.values(), *(spec.name for spec in random)]
    inputs += [*step.trained, *step.updated, *step.frozen]
    outputs = [*smashed, *gradients.values(), *new_buffers.values()]
    _check_names([*inputs, *outputs])
    shapes = tuple({0: BATCH} if batched else None for batched in step.batched)
    model = to_onnx(graph, step.arguments, shapes, inputs=inputs, outputs=outputs, tidy=True)
    return JointTrace(model, smashed, random, gradients, new_buffers, tuple(step.frozen))


class _Step:
    """A training step as a function of tensors, with example arguments for it.

    Attributes:
        smashed: Examples of what crosses.
        trained: Names of the parameters that get gradients.
        updated: Names of the buffers that get new values.
        frozen: Names of the other float parameters and buffers.
        arguments: ``x``, gradients of the smashed data, random numbers, then ``trained``,
            ``updated`` and ``frozen``.
        batched: Which arguments have a batch axis.
    """

    def __init__(
        self, front: nn.Module, random: Sequence[RandomSpec], input_shape: tuple[int, ...]
    ) -> None:
        self._front = front
        self._draws = len(random)
        x = torch.zeros(_TRACE_BATCH, *input_shape)
        draws = [
            torch.full((_TRACE_BATCH, *spec.shape) if spec.per_sample else spec.shape, 0.5)
            for spec in random
        ]
        self._tensors = {**dict(front.named_parameters()), **dict(front.named_buffers())}
        self.smashed, statistics = self._forward(x, draws, {})
        self.trained = self._reached()
        self.updated = list(statistics)
        stored = [name for name in front.state_dict() if name in self._tensors]
        self.frozen = [
            name
            for name in stored
            if name not in {*self.trained, *self.updated}
            and self._tensors[name].is_floating_point()
        ]
        gradients = [torch.zeros_like(tensor) for tensor in self.smashed]
        weights = [self._tensors[name].detach() for name in self._state]
        self.arguments = [x, *gradients, *draws, *weights]
        self.batched = [
            *[True] * (1 + len(gradients)),
            *(spec.per_sample for spec in random),
            *[False] * len(weights),
        ]

    @property
    def _state(self) -> list[str]:
        return [*self.trained, *self.updated, *self.frozen]

    def __call__(self, *values: Tensor) -> tuple[Tensor, ...]:
        x, *rest = values
        gradients, rest = rest[: len(self.smashed)], rest[len(self.smashed) :]
        draws, weights = rest[: self._draws], rest[self._draws :]
        given = dict(zip(self._state, weights, strict=True))
        trained = {name: given[name].detach().requires_grad_() for name in self.trained}
        smashed, fresh = self._forward(x, draws, {**given, **trained})
        made = torch.autograd.grad(smashed, list(trained.values()), gradients)
        new = [fresh[name] for name in self.updated]
        return tuple(tensor.detach() for tensor in (*smashed, *made, *new))

    def _forward(
        self, x: Tensor, draws: Sequence[Tensor], given: dict[str, Tensor]
    ) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
        statistics = BatchStatistics({**self._tensors, **given})
        with statistics, PlainAttention(), GivenDraws(draws):
            y = torch.func.functional_call(self._front, given, (x,))
        return (y if isinstance(y, tuple) else (y,)), statistics.fresh

    def _reached(self) -> list[str]:
        """The parameters that the smashed data's gradient gets to."""
        wanted = {name: p for name, p in self._front.named_parameters() if p.requires_grad}
        total = torch.stack([tensor.sum() for tensor in self.smashed]).sum()
        if not total.requires_grad:
            raise ExportError("the front has nothing to train", "choose a later cut")
        found: Sequence[Tensor | None] = torch.autograd.grad(
            total, list(wanted.values()), allow_unused=True
        )
        return [name for name, gradient in zip(wanted, found, strict=True) if gradient is not None]


def _check_names(names: Sequence[str]) -> None:
    doubled = [name for name, count in Counter(names).items() if count > 1]
    if doubled:
        raise ExportError(
            f"a parameter or buffer named {doubled[0]!r} clashes with what the graphs call theirs",
            "rename it",
        )


def _fake_trace(
    step: Callable[..., tuple[Tensor, ...]], arguments: list[Tensor], batched: list[bool]
) -> GraphModule:
    """Trace on tensors without data; axis 0 of those that are batched is the batch."""
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

"""One training step of a front as one ONNX graph, by way of a joint ATen trace.

The step is ``x, parameters, buffers, gradient of the smashed data -> smashed data,
gradients of the parameters, new running statistics``, with every tensor an argument and
only the batch axis symbolic.
"""

from __future__ import annotations

from collections.abc import Callable
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

from slfac.export.batchnorm import replace_batch_norms
from slfac.export.decompositions import decomposition_table
from slfac.export.to_onnx import BATCH, quiet_torch, to_onnx, translation_errors

X = "x"
SMASHED = "smashed"
SMASHED_GRADIENT = "smashed_gradient"
# The batch that the trace runs with; any number that no other axis is likely to have.
_TRACE_BATCH = 5
# The first two arguments, x and the gradient, have a batch axis; weights have none.
_BATCHED = 2


@dataclass(frozen=True)
class JointTrace:
    """A training step as one ONNX graph.

    Attributes:
        model: Inputs: ``x``, ``smashed_gradient``, parameters and float buffers by their
            names in torch. Outputs: ``smashed``, the gradients, the new buffers.
        gradients: Parameter name -> output that holds its gradient.
        new_buffers: Buffer name -> output that holds its new value.
    """

    model: onnx.ModelProto
    gradients: dict[str, str]
    new_buffers: dict[str, str]


def trace_training_step(front: nn.Module, input_shape: tuple[int, ...]) -> JointTrace:
    """Trace one training step of a front.

    Args:
        front: The front, in training mode.
        input_shape: Shape of one sample.

    Returns:
        The step as one graph, not yet cut.

    Raises:
        ExportError: An operator of the front, or its gradient, has no translation.
    """
    model, collected = replace_batch_norms(front)
    x = torch.zeros(_TRACE_BATCH, *input_shape)
    with torch.no_grad():
        smashed = model(x)
    parameters = list(dict(model.named_parameters()))
    buffers = list(collected)
    names = [X, SMASHED_GRADIENT, *parameters, *buffers]
    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    arguments = [x, torch.zeros_like(smashed), *(state[name].detach() for name in names[2:])]

    def step(*values: Tensor) -> tuple[Tensor, ...]:
        x, gradient, *rest = values
        given = dict(zip(names[2:], rest, strict=True))
        trained = {name: given[name].detach().requires_grad_() for name in parameters}
        collected.clear()
        y = torch.func.functional_call(model, {**given, **trained}, (x,))
        gradients = torch.autograd.grad(y, list(trained.values()), gradient)
        fresh = [collected[name] for name in buffers]
        return tuple(tensor.detach() for tensor in (y, *gradients, *fresh))

    gradients = {name: f"gradient.{name}" for name in parameters}
    new_buffers = {name: f"new.{name}" for name in buffers}
    outputs = [SMASHED, *gradients.values(), *new_buffers.values()]
    with quiet_torch(), translation_errors():
        graph = _fake_trace(step, arguments)
    shapes = tuple({0: BATCH} if i < _BATCHED else None for i in range(len(names)))
    model_proto = to_onnx(graph, arguments, shapes, inputs=names, outputs=outputs, tidy=True)
    return JointTrace(model_proto, gradients, new_buffers)


def _fake_trace(step: Callable[..., tuple[Tensor, ...]], arguments: list[Tensor]) -> GraphModule:
    """Trace on tensors without data; axis 0 of the first two is the batch."""
    mode = FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)
    fakes = []
    for index, value in enumerate(arguments):
        sizes = [DimDynamic.STATIC] * value.dim()
        if index < _BATCHED:
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

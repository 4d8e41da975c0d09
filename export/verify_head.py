"""Proves the head of a bundle, and that front, middle and head are the model together.

The head is trained in onnxruntime as :mod:`slfac.export.verify` trains the front, each step
against torch in float64. Then whole steps go through all three parts, the middle in torch,
against the model that was cut once only: the same loss, gradients and outputs.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn
from torch.nn import functional

from slfac.export.draws import Draws, GivenDraws
from slfac.export.replay import LEARNING_RATE, Groups, Tensors, onnx_errors
from slfac.export.trace import X
from slfac.export.verify import BATCH_SIZES, Check, Errors, judged
from slfac.wire.bundle import Bundle, State
from slfac.wire.errors import ExportError
from slfac.wire.manifest import Graph, Head, Loss, Manifest
from slfac.wire.runtime import open_infer_session, open_session

# What every draw gives where parts draw in another order than the whole.
_DRAWN = 0.375


def verify_head(
    bundle: Bundle, front: nn.Module, middle: nn.Module, head: nn.Module, rest: nn.Module
) -> list[Check]:
    """Train a bundle's head in onnxruntime and in torch, and then all of the model.

    Args:
        bundle: The bundle, which has a head.
        front: The torch front it was made from; not changed.
        middle: What lies between; not changed.
        head: The head; not changed.
        rest: Middle and head in one; not changed.

    Returns:
        One check a group of tensors.

    Raises:
        ExportError: A tensor is out of tolerance; the message names the worst.
    """
    return [*_alone(bundle, head), *_together(bundle, [front, middle, head], [front, rest])]


def _alone(bundle: Bundle, head: nn.Module) -> list[Check]:
    manifest, spec = bundle.manifest, _head(bundle.manifest)
    runner = _OnnxHead(bundle)
    oracles = [_TorchHead(head, dtype, manifest) for dtype in (torch.float64, torch.float32)]
    changing = {buffer.tensor.name for buffer in manifest.buffers if buffer.update != "none"}
    errors, own_errors = Errors(changing), Errors(changing)
    rng = np.random.Generator(np.random.Philox(1))
    for batch in BATCH_SIZES:
        inputs = [rng.standard_normal((batch, *s.shape), dtype=np.float32) for s in spec.inputs]
        target = _targets(rng, batch, manifest)
        draws = {
            s.name: rng.random((batch,) * s.per_sample + s.shape, dtype=np.float32)
            for s in spec.random
        }
        state = runner.state
        given = runner.step(inputs, target, draws)
        expected, own = (oracle.step(state, inputs, target, draws) for oracle in oracles)
        errors.add(batch, given, expected)
        own_errors.add(batch, own, expected)
    return judged(errors, own_errors, prefix="head: ")


def _together(
    bundle: Bundle, parts: Sequence[nn.Module], halves: Sequence[nn.Module]
) -> list[Check]:
    manifest = bundle.manifest
    errors, own_errors = Errors(set()), Errors(set())
    rng = np.random.Generator(np.random.Philox(2))
    for batch in BATCH_SIZES:
        x = rng.standard_normal((batch, *manifest.input.shape), dtype=np.float32)
        target = _targets(rng, batch, manifest)
        expected = _torch_step(halves, torch.float64, manifest.loss, x, target)
        own = _torch_step(halves, torch.float32, manifest.loss, x, target)
        errors.add(batch, _chained_step(bundle, parts[1], x, target), expected)
        own_errors.add(batch, own, expected)
    return judged(errors, own_errors, prefix="whole: ")


def _chained_step(bundle: Bundle, middle: nn.Module, x: np.ndarray, target: np.ndarray) -> Groups:
    """A step and an evaluation as a run makes them: device, server, device."""
    manifest, state = bundle.manifest, bundle.front_state()
    graphs, head = manifest.graphs, _head(manifest)
    values: Tensors = {**state, X: x, head.target: target}
    for drawn in (*manifest.random, *head.random):
        shape = (len(x),) * drawn.per_sample + drawn.shape
        values[drawn.name] = np.full(shape, _DRAWN, np.float32)
    middle = copy.deepcopy(middle)
    evaluate = open_infer_session(bundle, state)
    seen = evaluate.run([spec.name for spec in manifest.smashed], {X: x})
    with torch.no_grad():
        seen = _listed(middle.eval()(*map(torch.from_numpy, seen)))
    output = _run(bundle, head.infer, state, _named(head, seen))[0]
    _run(bundle, graphs.forward, state, values)
    smashed = [torch.from_numpy(values[s.name]).requires_grad_() for s in manifest.smashed]
    with _constant_draws():
        outputs = _listed(middle.train()(*smashed))
    values.update(_named(head, outputs))
    _run(bundle, head.step, state, values)
    gradients = [values[head.input_gradients[spec.name]] for spec in head.inputs]
    torch.autograd.backward(outputs, [torch.from_numpy(gradient) for gradient in gradients])
    for spec, tensor in zip(manifest.smashed, smashed, strict=True):
        gradient = torch.zeros_like(tensor) if tensor.grad is None else tensor.grad
        values[graphs.smashed_gradients[spec.name]] = gradient.numpy()
    _run(bundle, graphs.backward, state, values)
    made = {n: p.grad.numpy() for n, p in middle.named_parameters() if p.grad is not None}
    made.update({n: values[o] for n, o in (graphs.gradients | head.gradients).items()})
    return {
        "loss": {head.loss: values[head.loss]},
        "gradients": made,
        "evaluation": {head.infer.outputs[0]: output},
    }


def _torch_step(
    halves: Sequence[nn.Module], dtype: torch.dtype, loss: Loss, x: np.ndarray, target: np.ndarray
) -> Groups:
    """The same by the model that was not cut in three."""
    front, rest = (copy.deepcopy(half).to(dtype) for half in halves)
    images = torch.tensor(x, dtype=dtype)
    with torch.no_grad():
        evaluated = rest.eval()(*_listed(front.eval()(images)))
    with _constant_draws():
        output = rest.train()(*_listed(front.train()(images)))
    mean = _mean_loss(loss, output, target)
    torch.autograd.backward(mean)
    named = [*front.named_parameters(), *rest.named_parameters()]
    gradients = {name: p.grad.numpy() for name, p in named if p.grad is not None}
    return {
        "loss": {"loss": mean.detach().numpy()},
        "gradients": gradients,
        "evaluation": {"output": evaluated.numpy()},
    }


class _OnnxHead:
    """A bundle's head as a device runs it, with NumPy SGD.

    Attributes:
        state: Parameters and buffers of the device now.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._head = _head(bundle.manifest)
        self.state: State = bundle.front_state()

    def step(self, inputs: Sequence[np.ndarray], target: np.ndarray, draws: Tensors) -> Groups:
        """Take one training step, then evaluate with the weights that it gives."""
        head = self._head
        fed = {spec.name: value for spec, value in zip(head.inputs, inputs, strict=True)}
        values: Tensors = {**self.state, **draws, **fed, head.target: target}
        _run(self._bundle, head.step, self.state, values)
        made = {name: values[output] for name, output in head.gradients.items()}
        self.state = self._updated(made, values)
        output = _run(self._bundle, head.infer, self.state, fed)[0]
        own = {name: self.state[name] for name in head.state}
        crossing = {name: values[output] for name, output in head.input_gradients.items()}
        return {
            "loss": {"loss": values[head.loss]},
            "gradients at the cut": crossing,
            "gradients": made,
            "buffers": {k: v for k, v in own.items() if k not in made},
            "updated parameters": {k: v for k, v in own.items() if k in made},
            "evaluation": {"output": output},
        }

    def _updated(self, gradients: Tensors, values: Tensors) -> State:
        state = dict(self.state)
        for name, gradient in gradients.items():
            state[name] = state[name] - np.float32(LEARNING_RATE) * gradient
        for buffer in self._bundle.manifest.buffers:
            name = buffer.tensor.name
            if name not in self._head.state:
                continue
            if buffer.update == "graph":
                state[name] = values[buffer.output]
            elif buffer.update == "count":
                state[name] = np.asarray(state[name] + 1)
        return state


class _TorchHead:
    """The same head in torch."""

    def __init__(self, head: nn.Module, dtype: torch.dtype, manifest: Manifest) -> None:
        self._module = copy.deepcopy(head).to(dtype)
        self._dtype = dtype
        self._loss = manifest.loss
        self._head = _head(manifest)
        self._optimiser = torch.optim.SGD(self._module.parameters(), lr=LEARNING_RATE)

    def step(
        self, state: State, inputs: Sequence[np.ndarray], target: np.ndarray, draws: Tensors
    ) -> Groups:
        """Take one training step from the given weights, then evaluate."""
        module = self._module
        own = {name: torch.tensor(state[name]) for name in module.state_dict()}
        module.load_state_dict(own)
        self._optimiser.zero_grad()
        leaves = [torch.tensor(value, dtype=self._dtype, requires_grad=True) for value in inputs]
        with GivenDraws([torch.tensor(value, dtype=self._dtype) for value in draws.values()]):
            output = module.train()(*leaves)
        mean = _mean_loss(self._loss, output, target)
        torch.autograd.backward(mean)
        made = {n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None}
        self._optimiser.step()
        with torch.no_grad():
            evaluated = module.eval()(*(leaf.detach() for leaf in leaves))
        own = {name: module.state_dict()[name] for name in self._head.state}
        crossing = {
            spec.name: torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
            for spec, leaf in zip(self._head.inputs, leaves, strict=True)
        }
        groups: dict[str, dict[str, Tensor]] = {
            "loss": {"loss": mean},
            "gradients at the cut": crossing,
            "gradients": made,
            "buffers": {k: v for k, v in own.items() if k not in made},
            "updated parameters": {k: v for k, v in own.items() if k in made},
            "evaluation": {"output": evaluated},
        }
        return {
            group: {name: value.detach().numpy().copy() for name, value in tensors.items()}
            for group, tensors in groups.items()
        }


def _run(bundle: Bundle, graph: Graph, state: State, values: Tensors) -> list[np.ndarray]:
    """Run a graph on named values, and add what it makes to them."""
    with onnx_errors(graph.file):
        session: onnxruntime.InferenceSession = open_session(bundle, graph, state, threads=1)
        made: list[np.ndarray] = session.run(
            list(graph.outputs), {name: values[name] for name in graph.inputs}
        )
    values.update(zip(graph.outputs, made, strict=True))
    return made


def _head(manifest: Manifest) -> Head:
    if not manifest.head:
        raise ExportError("the bundle has no head")
    return manifest.head


def _named(head: Head, tensors: Sequence[Tensor]) -> Tensors:
    pairs = zip(head.inputs, tensors, strict=True)
    return {spec.name: tensor.detach().numpy() for spec, tensor in pairs}


def _targets(rng: np.random.Generator, batch: int, manifest: Manifest) -> np.ndarray:
    labels = rng.integers(0, manifest.num_outputs, batch)
    if manifest.loss == "cross_entropy":
        return labels
    return np.eye(manifest.num_outputs, dtype=np.float32)[labels]


def _mean_loss(loss: Loss, output: Tensor, target: np.ndarray) -> Tensor:
    expected = torch.from_numpy(target)
    if loss == "cross_entropy":
        return functional.cross_entropy(output, expected)
    expected = expected.to(output.dtype)
    if loss == "bce_with_logits":
        return functional.binary_cross_entropy_with_logits(output, expected)
    return functional.mse_loss(output, expected)


def _constant_draws() -> Draws:
    return Draws(lambda shape: torch.full(tuple(shape), _DRAWN))


def _listed(value: Tensor | tuple[Tensor, ...]) -> list[Tensor]:
    return list(value) if isinstance(value, tuple) else [value]

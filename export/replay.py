"""One training step of a front, taken by onnxruntime and taken by torch."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Sequence

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from slfac.export.draws import GivenDraws
from slfac.export.trace import X, smashed_names
from slfac.wire.bundle import Bundle, State
from slfac.wire.errors import ExportError
from slfac.wire.manifest import Graph
from slfac.wire.runtime import open_infer_session, open_session

LEARNING_RATE = 0.01

Tensors = dict[str, np.ndarray]
Groups = dict[str, Tensors]


class OnnxFront:
    """A bundle's front as a device runs it: two graphs and NumPy SGD.

    Args:
        bundle: The bundle, whose weights it starts with.

    Attributes:
        state: Its parameters and buffers now.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._graphs = bundle.manifest.graphs
        head = bundle.manifest.head
        self._others = {name: bundle.front_state()[name] for name in (head.state if head else ())}
        whole = bundle.front_state().items()
        self.state: State = {name: value for name, value in whole if name not in self._others}
        self._sessions = [
            (graph, self._open(graph)) for graph in (self._graphs.forward, self._graphs.backward)
        ]

    def _open(self, graph: Graph) -> onnxruntime.InferenceSession:
        with onnx_errors(graph.file):
            return open_session(self._bundle, graph, self.state, threads=1)

    def step(self, x: np.ndarray, gradients: Sequence[np.ndarray], draws: Tensors) -> Groups:
        """Take one training step, then evaluate with the weights that it gives.

        Args:
            x: ``(B, ...) float32``.
            gradients: Of each smashed tensor, in its shape.
            draws: The random numbers of the step, by name.

        Returns:
            Group of tensors -> name -> value. ``buffers`` are all that has no gradient,
            frozen parameters too, as in a manifest.
        """
        values: Tensors = {**self.state, **draws, X: x}
        values.update(zip(self._graphs.smashed_gradients.values(), gradients, strict=True))
        for graph, session in self._sessions:
            given = {name: values[name] for name in graph.inputs}
            with onnx_errors(graph.file):
                made = session.run(list(graph.outputs), given)
            values.update(zip(graph.outputs, made, strict=True))
        made_gradients = {name: values[made] for name, made in self._graphs.gradients.items()}
        self.state = self._updated(made_gradients, values)
        evaluate = open_infer_session(self._bundle, {**self._others, **self.state})
        trained = set(made_gradients)
        smashed = list(self._graphs.smashed_gradients)
        evaluated: list[np.ndarray] = evaluate.run(smashed, {X: x})
        return {
            "smashed data": {name: values[name] for name in smashed},
            "gradients": made_gradients,
            "buffers": {k: v for k, v in self.state.items() if k not in trained},
            "updated parameters": {k: v for k, v in self.state.items() if k in trained},
            "evaluation": dict(zip(smashed, evaluated, strict=True)),
        }

    def _updated(self, gradients: Tensors, values: Tensors) -> State:
        state = dict(self.state)
        for name, gradient in gradients.items():
            state[name] = state[name] - np.float32(LEARNING_RATE) * gradient
        for buffer in self._bundle.manifest.buffers:
            name = buffer.tensor.name
            if name in self._others:
                continue
            if buffer.update == "graph":
                state[name] = values[buffer.output]
            elif buffer.update == "count":
                state[name] = np.asarray(state[name] + 1)
        return state


@contextlib.contextmanager
def onnx_errors(file: str) -> Iterator[None]:
    """Turn what onnxruntime raises into an error that names the file.

    Args:
        file: The graph's file name.

    Raises:
        ExportError: In the place of any error.
    """
    try:
        yield
    except Exception as error:  # onnxruntime's errors share no public base
        raise ExportError(f"onnxruntime cannot run {file}: {error}") from error


def _listed(value: Tensor | tuple[Tensor, ...]) -> list[Tensor]:
    return list(value) if isinstance(value, tuple) else [value]


class TorchFront:
    """The same front in torch.

    Args:
        front: The front; it is copied.
        dtype: What to compute in.
    """

    def __init__(self, front: nn.Module, dtype: torch.dtype) -> None:
        self._front = copy.deepcopy(front).to(dtype)
        self._dtype = dtype
        self._optimiser = torch.optim.SGD(self._front.parameters(), lr=LEARNING_RATE)

    def step(
        self, state: State, x: np.ndarray, gradients: Sequence[np.ndarray], draws: Tensors
    ) -> Groups:
        """Take one training step from the given weights, then evaluate.

        Args:
            state: Parameters and buffers to start from.
            x: ``(B, ...) float32``.
            gradients: Of each smashed tensor, in its shape.
            draws: The random numbers of the step, in the order in which it draws them.

        Returns:
            Group of tensors -> name -> value, as :meth:`OnnxFront.step` gives them.
        """
        front = self._front
        front.load_state_dict({name: torch.tensor(value) for name, value in state.items()})
        self._optimiser.zero_grad()
        images = torch.tensor(x, dtype=self._dtype)
        with GivenDraws([torch.tensor(value, dtype=self._dtype) for value in draws.values()]):
            smashed = _listed(front.train()(images))
        torch.autograd.backward(smashed, [torch.tensor(g, dtype=self._dtype) for g in gradients])
        made = {n: p.grad.clone() for n, p in front.named_parameters() if p.grad is not None}
        self._optimiser.step()
        with torch.no_grad():
            evaluated = _listed(front.eval()(images))
        names = smashed_names(len(smashed))
        others = {n: value for n, value in front.state_dict().items() if n not in made}
        groups: dict[str, dict[str, Tensor]] = {
            "smashed data": dict(zip(names, smashed, strict=True)),
            "gradients": made,
            "buffers": others,
            "updated parameters": {n: p for n, p in front.named_parameters() if n in made},
            "evaluation": dict(zip(names, evaluated, strict=True)),
        }
        return {
            group: {name: value.detach().numpy().copy() for name, value in tensors.items()}
            for group, tensors in groups.items()
        }

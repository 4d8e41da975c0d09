"""One training step of a front, taken by onnxruntime and taken by torch."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from slfac.export.trace import SMASHED, SMASHED_GRADIENT, X
from slfac.wire.bundle import Bundle, State
from slfac.wire.errors import ExportError
from slfac.wire.runtime import open_infer_session, session_options

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
        self._sessions = [
            (graph, _open(bundle.file(graph.file)))
            for graph in (self._graphs.forward, self._graphs.backward)
        ]
        self.state: State = bundle.front_state()

    def step(self, x: np.ndarray, gradient: np.ndarray) -> Groups:
        """Take one training step, then evaluate with the weights that it gives.

        Args:
            x: ``(B, ...) float32``.
            gradient: Of the smashed data, in its shape.

        Returns:
            Group of tensors -> name -> value.
        """
        values: Tensors = {**self.state, X: x, SMASHED_GRADIENT: gradient}
        for graph, session in self._sessions:
            given = {name: values[name] for name in graph.inputs}
            with _onnx_errors(graph.file):
                made = session.run(list(graph.outputs), given)
            values.update(zip(graph.outputs, made, strict=True))
        gradients = {name: values[made] for name, made in self._graphs.gradients.items()}
        self.state = self._updated(gradients, values)
        evaluate = open_infer_session(self._bundle, self.state)
        trained = set(gradients)
        return {
            "smashed data": {SMASHED: values[SMASHED]},
            "gradients": gradients,
            "BatchNorm statistics": {k: v for k, v in self.state.items() if k not in trained},
            "updated parameters": {k: v for k, v in self.state.items() if k in trained},
            "evaluation": {SMASHED: evaluate.run([SMASHED], {X: x})[0]},
        }

    def _updated(self, gradients: Tensors, values: Tensors) -> State:
        state = dict(self.state)
        for name, gradient in gradients.items():
            state[name] = state[name] - np.float32(LEARNING_RATE) * gradient
        for buffer in self._bundle.manifest.buffers:
            name = buffer.tensor.name
            if buffer.update == "graph":
                state[name] = values[buffer.output]
            elif buffer.update == "count":
                state[name] = np.asarray(state[name] + 1)
        return state


def _open(path: Path) -> onnxruntime.InferenceSession:
    with _onnx_errors(path.name):
        return onnxruntime.InferenceSession(
            path, sess_options=session_options(threads=1), providers=["CPUExecutionProvider"]
        )


@contextlib.contextmanager
def _onnx_errors(file: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # onnxruntime's errors share no public base
        raise ExportError(f"onnxruntime cannot run {file}: {error}") from error


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

    def step(self, state: State, x: np.ndarray, gradient: np.ndarray) -> Groups:
        """Take one training step from the given weights, then evaluate.

        Args:
            state: Parameters and buffers to start from.
            x: ``(B, ...) float32``.
            gradient: Of the smashed data, in its shape.

        Returns:
            Group of tensors -> name -> value, as :meth:`OnnxFront.step` gives them.
        """
        front = self._front
        front.load_state_dict({name: torch.tensor(value) for name, value in state.items()})
        self._optimiser.zero_grad()
        images = torch.tensor(x, dtype=self._dtype)
        smashed: Tensor = front.train()(images)
        torch.autograd.backward(smashed, torch.tensor(gradient, dtype=self._dtype))
        gradients = {name: p.grad for name, p in front.named_parameters() if p.grad is not None}
        gradients = {name: value.clone() for name, value in gradients.items()}
        self._optimiser.step()
        with torch.no_grad():
            evaluated = front.eval()(images)
        groups: dict[str, dict[str, Tensor]] = {
            "smashed data": {SMASHED: smashed},
            "gradients": gradients,
            "BatchNorm statistics": dict(front.named_buffers()),
            "updated parameters": dict(front.named_parameters()),
            "evaluation": {SMASHED: evaluated},
        }
        return {
            group: {name: value.detach().numpy().copy() for name, value in tensors.items()}
            for group, tensors in groups.items()
        }

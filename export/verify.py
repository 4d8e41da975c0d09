"""Proves a bundle: its graphs in onnxruntime against torch in float64, step by step.

onnxruntime trains the front along a run of its own; each of its steps is repeated by
torch from the same weights, batch and gradient at the cut. (Two whole runs drift apart
from rounding alone: so do two of torch's.) The oracle computes in float64, because two
float32 results differ by the rounding of both.

A unit whose input lies within rounding of zero switches differently in float32, in torch's
too, and shifts a whole gradient. So each batch size is checked on three steps, of which the
best counts, and the tolerance grows with the error that torch itself makes in float32.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from slfac.export.trace import SMASHED, SMASHED_GRADIENT, X
from slfac.wire.bundle import Bundle, State
from slfac.wire.errors import ExportError
from slfac.wire.infer import open_infer_session, session_options

BATCH_SIZES = (2, 5, 8) * 3
LEARNING_RATE = 0.01
TOLERANCE = 1e-4
MAX_TOLERANCE = 1e-2
# Times torch's own error in float32 that ours may be.
MARGIN = 4.0

Tensors = dict[str, np.ndarray]
Groups = dict[str, Tensors]


@dataclass(frozen=True)
class Check:
    """How far one group of tensors is from torch.

    Attributes:
        group: What was compared.
        tensors: How many tensors the group has.
        worst: Name of the tensor with the largest relative error.
        max_abs: Largest absolute error.
        max_rel: Largest relative error: the norm of a tensor's difference from torch over
            the norm of torch's tensor.
        tolerance: What ``max_rel`` may be.
        ok: Whether it is.
    """

    group: str
    tensors: int
    worst: str
    max_abs: float
    max_rel: float
    tolerance: float
    ok: bool


def verify_bundle(
    bundle: Bundle, front: nn.Module, on_step: Callable[[int, int], None] | None = None
) -> list[Check]:
    """Train a bundle's front in onnxruntime and in torch, and compare.

    Args:
        bundle: The bundle.
        front: The torch front it was made from, with the weights it holds; not changed.
        on_step: Called after each step with its number and how many there are.

    Returns:
        One check a group: smashed data, gradients, BatchNorm statistics, updated
        parameters, evaluation.

    Raises:
        ExportError: A tensor is out of tolerance; the message names the worst.
    """
    runner = _Runner(bundle)
    oracle, yardstick = _Oracle(front, torch.float64), _Oracle(front, torch.float32)
    errors, own_errors = _Errors(), _Errors()
    rng = np.random.Generator(np.random.Philox(0))
    for index, batch in enumerate(BATCH_SIZES):
        x = rng.standard_normal((batch, *bundle.manifest.input.shape), dtype=np.float32)
        shape = (batch, *bundle.manifest.smashed[0].shape)
        gradient = rng.standard_normal(shape, dtype=np.float32) / np.float32(
            math.prod(shape) ** 0.5
        )
        state = runner.state
        given = runner.step(x, gradient)
        expected = oracle.step(state, x, gradient)
        errors.add(batch, given, expected)
        own_errors.add(batch, yardstick.step(state, x, gradient), expected)
        if on_step:
            on_step(index + 1, len(BATCH_SIZES))
    return _judge(_checks(errors, own_errors))


class _Runner:
    """The bundle's front as a device runs it: two graphs and NumPy SGD."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._graphs = bundle.manifest.graphs
        self._sessions = [
            (graph, _open(bundle.file(graph.file)))
            for graph in (self._graphs.forward, self._graphs.backward)
        ]
        self.state: State = bundle.front_state()

    def step(self, x: np.ndarray, gradient: np.ndarray) -> Groups:
        """One training step, then an evaluation with the weights that it gives."""
        values: Tensors = {**self.state, X: x, SMASHED_GRADIENT: gradient}
        for graph, session in self._sessions:
            given = {name: values[name] for name in graph.inputs}
            values.update(zip(graph.outputs, session.run(list(graph.outputs), given), strict=True))
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
    return onnxruntime.InferenceSession(
        path, sess_options=session_options(threads=1), providers=["CPUExecutionProvider"]
    )


class _Oracle:
    """The same front in torch."""

    def __init__(self, front: nn.Module, dtype: torch.dtype) -> None:
        self._front = copy.deepcopy(front).to(dtype)
        self._dtype = dtype
        self._optimiser = torch.optim.SGD(self._front.parameters(), lr=LEARNING_RATE)

    def step(self, state: State, x: np.ndarray, gradient: np.ndarray) -> Groups:
        """One training step from the given weights, then an evaluation."""
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


class _Errors:
    """Errors of every tensor: relative and absolute, of the best step of a batch size."""

    def __init__(self) -> None:
        self.best: dict[tuple[str, str, int], tuple[float, float]] = {}

    def add(self, batch: int, given: Groups, expected: Groups) -> None:
        for group, tensors in expected.items():
            for name, reference in tensors.items():
                key = (group, name, batch)
                error = _error(given[group].get(name), reference)
                self.best[key] = min(error, self.best.get(key, error))

    def of(self, group: str) -> list[tuple[float, float, str]]:
        """``(relative, absolute, tensor)`` of one group."""
        return [(*error, name) for (of, name, _), error in self.best.items() if of == group]


def _error(given: np.ndarray | None, reference: np.ndarray) -> tuple[float, float]:
    if given is None or given.shape != reference.shape or not np.isfinite(given).all():
        return math.inf, math.inf
    difference = given.astype(np.float64) - reference
    size = max(float(np.linalg.norm(reference)), float(np.finfo(np.float32).tiny))
    return float(np.linalg.norm(difference)) / size, float(np.abs(difference).max())


def _checks(errors: _Errors, own_errors: _Errors) -> list[Check]:
    checks = []
    for group in dict.fromkeys(group for group, _, _ in errors.best):
        found = errors.of(group)
        relative, _, worst = max(found)
        own = max(own_errors.of(group))[0]
        tolerance = min(max(TOLERANCE, MARGIN * own), MAX_TOLERANCE)
        checks.append(
            Check(
                group=group,
                tensors=len({name for _, _, name in found}),
                worst=worst,
                max_abs=max(absolute for _, absolute, _ in found),
                max_rel=relative,
                tolerance=tolerance,
                ok=relative <= tolerance,
            )
        )
    return checks


def _judge(checks: list[Check]) -> list[Check]:
    failed = [check for check in checks if not check.ok]
    if failed:
        check = max(failed, key=lambda check: check.max_rel)
        raise ExportError(
            f"{check.group}: {check.worst!r} differs from torch by {check.max_rel:.1e} "
            f"of its size, more than {check.tolerance:.1e}",
            "this front cannot be trained through ONNX as it is; choose another cut",
        )
    return checks

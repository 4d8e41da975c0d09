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

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from slfac.export.replay import Groups, OnnxFront, TorchFront
from slfac.wire.bundle import Bundle
from slfac.wire.errors import ExportError

BATCH_SIZES = (2, 5, 8) * 3
TOLERANCE = 1e-4
MAX_TOLERANCE = 1e-2
# Times torch's own error in float32 that ours may be.
MARGIN = 4.0
# No error is small against a gradient that is hardly there. So none counts as smaller than this
# share of the largest of its group.
_FLOOR = 1e-3
# Those that are zero in float64 but for rounding (a bias before BatchNorm) are in float32 what
# some terms of the group's size leave of one another, ten of its units or so, and another
# number on another processor. They count as large as this share of the group's largest.
_ZERO, _ZERO_FLOOR = 1e-12, 1e-2


@dataclass(frozen=True)
class Check:
    """How far one group of tensors is from torch.

    Attributes:
        group: What was compared.
        tensors: How many tensors the group has.
        worst: Name of the tensor with the largest relative error.
        max_abs: Largest absolute error.
        max_rel: Largest relative error: the root mean square of a tensor's difference from
            torch over that of torch's tensor.
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
        One check a group that has tensors: smashed data, gradients, BatchNorm statistics
        (what a step changes of the buffers: means, variances and counts of batches),
        frozen tensors (parameters and buffers that must not change), updated parameters,
        evaluation.

    Raises:
        ExportError: A tensor is out of tolerance; the message names the worst.
    """
    runner = OnnxFront(bundle)
    oracle, yardstick = TorchFront(front, torch.float64), TorchFront(front, torch.float32)
    changing = {buffer.tensor.name for buffer in bundle.manifest.buffers if buffer.update != "none"}
    errors, own_errors = Errors(changing), Errors(changing)
    rng = np.random.Generator(np.random.Philox(0))
    for index, batch in enumerate(BATCH_SIZES):
        x = rng.standard_normal((batch, *bundle.manifest.input.shape), dtype=np.float32)
        shapes = [(batch, *spec.shape) for spec in bundle.manifest.smashed]
        gradients = [
            rng.standard_normal(shape, dtype=np.float32) / np.float32(math.prod(shape) ** 0.5)
            for shape in shapes
        ]
        draws = {
            spec.name: rng.random((batch,) * spec.per_sample + spec.shape, dtype=np.float32)
            for spec in bundle.manifest.random
        }
        state = runner.state
        given = runner.step(x, gradients, draws)
        expected = oracle.step(state, x, gradients, draws)
        errors.add(batch, given, expected)
        own_errors.add(batch, yardstick.step(state, x, gradients, draws), expected)
        if on_step:
            on_step(index + 1, len(BATCH_SIZES))
    return judged(errors, own_errors)


class Errors:
    """Errors of every tensor: relative and absolute, of the best step of a batch size.

    Args:
        changing: Names of the buffers that a step changes.
    """

    def __init__(self, changing: set[str]) -> None:
        self._changing = changing
        self.best: dict[tuple[str, str, int], tuple[float, float]] = {}

    def add(self, batch: int, given: Groups, expected: Groups) -> None:
        """Take in a step.

        Args:
            batch: Its batch size.
            given: Group of tensors -> name -> value.
            expected: The same, by the oracle.
        """
        given = self._titled(given)
        for group, tensors in self._titled(expected).items():
            # Counts of batches may be huge, and say nothing of other tensors' sizes.
            sizes = [_rms(value) for value in tensors.values() if value.dtype.kind == "f"]
            largest = max(sizes, default=0.0)
            for name, reference in tensors.items():
                key = (group, name, batch)
                zero = _rms(reference) < _ZERO * largest
                least = (_ZERO_FLOOR if zero else _FLOOR) * largest
                error = _error(given[group].get(name), reference, least)
                self.best[key] = min(error, self.best.get(key, error))

    def _titled(self, groups: Groups) -> Groups:
        """The groups by what a user knows: buffers that a step changes, and what it must not."""
        titled: Groups = {}
        for group, tensors in groups.items():
            if group == "buffers":
                changing = {n: value for n, value in tensors.items() if n in self._changing}
                frozen = {n: value for n, value in tensors.items() if n not in changing}
                titled.update({"BatchNorm statistics": changing, "frozen tensors": frozen})
            else:
                titled[group] = tensors
        return titled

    def of(self, group: str) -> list[tuple[float, float, str]]:
        """``(relative, absolute, tensor)`` of one group."""
        return [(*error, name) for (of, name, _), error in self.best.items() if of == group]


def _rms(tensor: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(tensor.astype(np.float64)))))


def _error(
    given: np.ndarray | None, reference: np.ndarray, least_rms: float
) -> tuple[float, float]:
    if given is None or given.shape != reference.shape or not np.isfinite(given).all():
        return math.inf, math.inf
    difference = given.astype(np.float64) - reference
    size = max(_rms(reference), least_rms, float(np.finfo(np.float32).tiny))
    return _rms(difference) / size, float(np.abs(difference).max())


def judged(errors: Errors, own_errors: Errors, prefix: str = "") -> list[Check]:
    """What errors come to.

    Args:
        errors: Of what was made, against the oracle.
        own_errors: Of torch in float32, against the oracle.
        prefix: What the groups' names begin with.

    Returns:
        One check a group, all of which passed.

    Raises:
        ExportError: A tensor is out of tolerance; the message names the worst.
    """
    checks = []
    for group in dict.fromkeys(group for group, _, _ in errors.best):
        found = errors.of(group)
        relative, _, worst = max(found)
        own = max(own_errors.of(group))[0]
        tolerance = min(max(TOLERANCE, MARGIN * own), MAX_TOLERANCE)
        checks.append(
            Check(
                group=prefix + group,
                tensors=len({name for _, _, name in found}),
                worst=worst,
                max_abs=max(absolute for _, absolute, _ in found),
                max_rel=relative,
                tolerance=tolerance,
                ok=relative <= tolerance,
            )
        )
    return _judge(checks)


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

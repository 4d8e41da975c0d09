"""Compares a deployment file with what the run evaluated: ``infer.onnx`` and torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnxruntime
import torch
from torch import nn

from slfac.data import apply
from slfac.export.deploy_graph import Stored
from slfac.wire.bundle import Bundle, State
from slfac.wire.errors import ExportError
from slfac.wire.manifest import Manifest
from slfac.wire.runtime import open_infer_session, open_session, session_options

BATCH_SIZES = (1, 3, 32)
TOLERANCE = 1e-4
Outputs = list[np.ndarray]


@dataclass(frozen=True)
class Agreement:
    """How a deployment file compares with the run's own evaluation.

    Attributes:
        max_rel: Largest relative error: the root mean square of an output's difference over
            that of the output, for the worst output and batch.
        tolerance: What it may be.
        samples: How many samples were compared.
        same_class: For how many the largest output is the same; None where there are no classes.
    """

    max_rel: float
    tolerance: float
    samples: int
    same_class: int | None


def reference(bundle: Bundle, front: State, back: nn.Module | None) -> Callable[..., Outputs]:
    """What a file must give: the bundle's evaluation graphs, and torch behind the first.

    Args:
        bundle: The bundle.
        front: The front's weights.
        back: The back half with its weights, or None for the front alone.

    Returns:
        A function from the front's input to the outputs.

    Raises:
        BundleError: The bundle's graph cannot be opened.
    """
    session = open_infer_session(bundle, front)
    names = list(bundle.manifest.graphs.infer.outputs)
    head = bundle.manifest.head
    last = open_session(bundle, head.infer, front, threads=1) if head else None

    def run(x: np.ndarray) -> Outputs:
        smashed: Outputs = session.run(names, {bundle.manifest.input.name: x})
        if back is None:
            return smashed
        with torch.no_grad():
            made = back.eval()(*map(torch.from_numpy, smashed))
        outputs = [tensor.numpy() for tensor in (made if isinstance(made, tuple) else (made,))]
        if last is None or not head:
            return outputs
        fed = {spec.name: value for spec, value in zip(head.inputs, outputs, strict=True)}
        logits: Outputs = last.run(None, fed)
        return logits

    return run


def compare(
    data: bytes, expected: Callable[..., Outputs], manifest: Manifest, stored: Stored | None
) -> Agreement:
    """Run a file on random samples and compare.

    Args:
        data: The file's bytes.
        expected: As :func:`reference` gives it.
        manifest: The bundle's manifest.
        stored: What the file takes: None for inputs that are preprocessed already.

    Returns:
        The comparison, which passed.

    Raises:
        ExportError: The file cannot be opened, its outputs are out of tolerance, or it
            chooses another class where that is no tie.
    """
    try:
        # From bytes there is no folder to find values in, so all must be inside.
        session = onnxruntime.InferenceSession(
            data, sess_options=session_options(1), providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise ExportError(f"the deployment graph cannot be opened: {error}") from error
    rng = np.random.Generator(np.random.Philox(0))
    front = session.get_outputs()[0].name == manifest.smashed[0].name
    classifies = manifest.loss == "cross_entropy" and not front
    worst, same = 0.0, 0
    for batch in BATCH_SIZES:
        taken, x = _samples(rng, batch, manifest, stored)
        given = session.run(None, {manifest.input.name: taken})
        wanted = expected(x)
        worst = max(worst, *map(_error, given, wanted))
        if classifies:
            same += _same_class(given[0], wanted[0])
    if not worst <= TOLERANCE:
        raise ExportError(
            f"the deployment graph differs from infer.onnx and torch by {worst:.1e} of its "
            f"outputs' size, more than {TOLERANCE:.1e}",
            "nothing is written; report it with the model",
        )
    return Agreement(worst, TOLERANCE, sum(BATCH_SIZES), same if classifies else None)


def _samples(
    rng: np.random.Generator, batch: int, manifest: Manifest, stored: Stored | None
) -> tuple[np.ndarray, np.ndarray]:
    """What a file takes, and the front's input that belongs to it."""
    shape = (batch, *manifest.input.shape)
    if stored is None:
        x = rng.standard_normal(shape, dtype=np.float32)
        return x, x
    values = rng.integers(0, 256, shape, dtype=np.uint8)
    taken = values if stored == "uint8" else _float_values(values, manifest)
    return taken, apply(manifest.preprocessing, taken)


def _float_values(values: np.ndarray, manifest: Manifest) -> np.ndarray:
    """Values that preprocessing brings to [0, 1] before it normalises them."""
    scale = abs(manifest.preprocessing.scale) or 1.0
    return (values / (255.0 * scale)).astype(np.float32)


def _error(given: np.ndarray, wanted: np.ndarray) -> float:
    if given.shape != wanted.shape or not np.isfinite(given).all():
        return math.inf
    difference = given.astype(np.float64) - wanted
    size = max(_rms(wanted), float(np.finfo(np.float32).tiny))
    return _rms(difference) / size


def _same_class(given: np.ndarray, wanted: np.ndarray) -> int:
    """Samples of the same class; two classes within the tolerance of each other are a tie."""
    rows = np.arange(len(wanted))
    chosen = wanted[rows, given.argmax(1)]
    tie = TOLERANCE * _rms(wanted)
    lost = int((wanted.max(1) - chosen > tie).sum())
    if lost:
        raise ExportError(
            f"the deployment graph chooses another class than torch for {lost} samples",
            "nothing is written; report it with the model",
        )
    return int((given.argmax(1) == wanted.argmax(1)).sum())


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values.astype(np.float64)))))

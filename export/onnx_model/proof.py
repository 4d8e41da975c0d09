"""Compares the module made of an ONNX file with the file itself in onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from slfac.export.onnx_model.builder import build
from slfac.wire.errors import ExportError
from slfac.wire.runtime import session_options

_SAMPLES = 3
# Sums run in another order; a wrong operator is wrong by far more. The absolute part is for
# saturated outputs, of which onnxruntime's fast sigmoid has no more digits.
_MAX_RELATIVE = 1e-3
_MAX_ABSOLUTE = 1e-6
_SEED = 20_070_819


def prove(
    path: Path,
    file: str | bytes,
    structure: Mapping[str, Any],
    weights: Mapping[str, np.ndarray],
    batch: int | None,
) -> None:
    """Run random samples through both, in evaluation mode.

    A file that fixes its batch is run in its own batches, our module always in one of all
    samples: so nothing may depend on which samples share a batch.

    Args:
        path: The file, for messages.
        file: What onnxruntime opens: the path, or the model's bytes.
        structure: What was made of it.
        weights: Its weights.
        batch: Samples in a batch as the file fixes it, or None.

    Raises:
        ExportError: The two differ, or onnxruntime cannot run the file.
    """
    module = build(structure).eval()
    module.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    rng = np.random.default_rng(_SEED)
    count = _SAMPLES * (batch or 1)
    x = rng.standard_normal((count, *structure["input"]["shape"]), np.float32)
    try:
        with torch.no_grad():
            ours = module(torch.from_numpy(x)).numpy()
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise ExportError(f"{path}: torch cannot run the model: {reason}") from error
    parts = np.split(x, _SAMPLES) if batch else [x]
    theirs = _run(path, file, structure["input"]["name"], parts)
    if ours.shape != theirs.shape:
        raise ExportError(
            f"{path}: the module gives {ours.shape} where onnxruntime gives {theirs.shape}"
        )
    if not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        raise ExportError(f"{path}: the model gives values that are not finite for random input")
    off, peak = float(np.abs(ours - theirs).max()), float(np.abs(theirs).max())
    if off > _MAX_RELATIVE * peak + _MAX_ABSOLUTE:
        raise ExportError(
            f"{path}: the module's output differs from onnxruntime's by {off:.1e} of {peak:.1e}",
            "simplify the file with onnxsim, and report it",
        )


def _run(path: Path, file: str | bytes, name: str, parts: list[np.ndarray]) -> np.ndarray:
    try:
        session = onnxruntime.InferenceSession(
            file, sess_options=session_options(1), providers=["CPUExecutionProvider"]
        )
        made = [session.run(None, {name: part})[0] for part in parts]
        return np.concatenate([np.asarray(value, np.float32) for value in made])
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise ExportError(f"{path} cannot be run by onnxruntime: {reason}") from error

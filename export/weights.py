"""Loads a whole model's weights from a safetensors file."""

from __future__ import annotations

from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import nn

from slfac.wire.errors import ExportError


def load_weights(model: nn.Module, path: Path) -> list[str]:
    """Put a file's tensors into a model; every one must have its place, and every place one.

    The last layer may have another shape in the file, as a model trained on other classes
    has: it then stays as it is in the model.

    Args:
        model: The model; it is changed.
        path: A safetensors file. Counters of BatchNorm's batches may be missing.

    Returns:
        Names of the last layer's tensors that were not taken.

    Raises:
        ExportError: The file cannot be read, or its tensors do not fit the model.
    """
    try:
        given = safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise ExportError(f"weights {path} cannot be read: {error}") from error
    wanted = model.state_dict()
    optional = {name for name in wanted if name.endswith("num_batches_tracked")}
    missing = sorted(wanted.keys() - given.keys() - optional)
    unknown = sorted(given.keys() - wanted.keys())
    if missing or unknown:
        parts = [f"lacks {name!r}" for name in missing[:1]]
        parts += [f"has {name!r}, which the model has not" for name in unknown[:1]]
        raise ExportError(
            f"weights {path}: the file {' and '.join(parts)} "
            f"({len(missing)} missing, {len(unknown)} unknown)",
            "give the state_dict of this very model, saved by safetensors",
        )
    last = [name for name, _ in model.named_parameters()][-1].rpartition(".")[0]
    left = [n for n, value in given.items() if value.shape != wanted[n].shape]
    if all(name.rpartition(".")[0] == last for name in left):
        given = {name: value for name, value in given.items() if name not in left}
    for name, value in given.items():
        if value.shape != wanted[name].shape:
            raise ExportError(
                f"weights {path}: {name!r} is {tuple(value.shape)}, the model's is "
                f"{tuple(wanted[name].shape)}",
                "give the same arguments that the model was trained with",
            )
        if not bool(torch.isfinite(value).all()):
            raise ExportError(f"weights {path}: {name!r} holds values that are not finite")
    model.load_state_dict(given, strict=False)
    return left

"""Where a model comes from: a factory that is imported, or an ONNX file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from slfac.export.arguments import judging
from slfac.export.onnx_model import build, read_onnx
from slfac.export.onnx_model.logits import without_last_activation
from slfac.export.rebuild import build_model, complete, factory_path, find_factory
from slfac.export.weights import load_weights
from slfac.wire.errors import ExportError
from slfac.wire.manifest import Loss

ONNX_FACTORY = "slfac.export.onnx_model:build"


@dataclass(frozen=True)
class Source:
    """A model, and how it is made again.

    Attributes:
        model: The model, with its weights.
        name: Its name, for people.
        factory: ``package.module:callable`` that makes it, but for its weights.
        kwargs: JSON values for the factory.
        input_shape: Shape of one sample.
    """

    model: nn.Module
    name: str
    factory: str
    kwargs: dict[str, Any]
    input_shape: tuple[int, ...]


def from_factory(
    name: str,
    kwargs: Mapping[str, Any],
    input_shape: tuple[int, ...] | None,
    num_classes: int | None,
    *,
    weights: Path | None,
    seed: int,
    say: Callable[[str], None],
) -> Source:
    """Make a model by its factory.

    Args:
        name: A model of :mod:`slfac.export.models`, or the path of a factory,
            ``package.module:function``, which is imported.
        kwargs: JSON values for the factory; ``num_classes`` and ``input_shape`` are added
            where it takes them.
        input_shape: Shape of one sample.
        num_classes: Width of the model's output, where it was given.
        weights: A safetensors file with the whole model's state; None for what the factory
            gives.
        seed: Seed of the initial weights.
        say: Told what is done, and which weights do not fit and start afresh.

    Returns:
        The model.

    Raises:
        ExportError: There is no shape, the factory cannot be imported or refuses its
            arguments, or the weights do not fit.
    """
    if input_shape is None:
        raise ExportError(
            f"model {name} does not say what its input is", "give the shape of one sample (--input)"
        )
    if not 0 <= seed < 1 << 63:
        raise ExportError(f"seed is {seed}", "give a whole number from 0 to 2^63 - 1")
    say(f"building {name} with seed {seed}")
    with judging("model"):
        path = factory_path(name)
        factory = find_factory(path)
    with judging("kwargs" if kwargs else "model"):
        arguments = complete(factory, kwargs, num_classes, input_shape)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = build_model(factory, arguments)
    if weights is not None:
        left = load_weights(model, weights)
        if left:
            say(f"{' and '.join(left)} of {weights} have another shape: they start afresh")
    return Source(model, name, path, arguments, tuple(input_shape))


def from_onnx(
    path: Path, *, input_shape: tuple[int, ...] | None, loss: Loss, say: Callable[[str], None]
) -> Source:
    """Read a model and its weights from an ONNX file.

    Args:
        path: The file.
        input_shape: Shape of one sample; None takes the file's, where it says it.
        loss: The loss to train with; a last activation that it computes itself is dropped.
        say: Told what is done, and what is dropped.

    Returns:
        The model.

    Raises:
        ExportError: The file cannot be read, or holds what cannot be trained here.
    """
    say(f"reading {path}")
    structure, weights = read_onnx(path, input_shape=input_shape)
    structure, dropped = without_last_activation(structure, loss)
    if dropped is not None:
        say(f"the file's last {dropped} is left out: {loss} computes it itself")
    model = build(structure)
    state = {name: torch.from_numpy(value) for name, value in weights.items()}
    model.load_state_dict(state, strict=False)
    shape = tuple(structure["input"]["shape"])
    return Source(model, path.stem, ONNX_FACTORY, {"structure": structure}, shape)

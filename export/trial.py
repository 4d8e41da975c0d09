"""Tries cuts of a model on real batches: what crosses each, and how long the rest takes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
import torch
from torch import Tensor, nn

from slfac.export.costs import Cut, describe_cuts
from slfac.export.cuts import Place, find_cut, halves, legal_cuts
from slfac.export.graph import ModelGraph, trace_model
from slfac.export.head_trace import mean_loss
from slfac.export.rebuild import MODELS_MODULE
from slfac.export.source import ONNX_FACTORY, Source, from_factory
from slfac.wire.bundle import BACK_FILE, Bundle, State
from slfac.wire.errors import BundleError, ExportError
from slfac.wire.manifest import Loss

Batch = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Trial:
    """What one cut did on the batches.

    Attributes:
        cut: The cut, and what it costs.
        smashed: For each batch the tensors that cross, ``(B, ...) float32``.
        gradients: For each batch their gradients.
        back_ms: For each batch how long the back half took, of the processor: both passes, and the
            loss.
        front_bytes: Of the front's state: parameters and buffers.
    """

    cut: Cut
    smashed: list[list[np.ndarray]]
    gradients: list[list[np.ndarray]]
    back_ms: list[float]
    front_bytes: int


def model_source(
    model: str,
    kwargs: Mapping[str, Any],
    input_shape: tuple[int, ...],
    num_classes: int,
    *,
    weights: Path | None = None,
    seed: int = 0,
) -> Source:
    """Make a model whose cuts are to be tried.

    Args:
        model: As of :func:`slfac.export.export_bundle`.
        kwargs: As of :func:`slfac.export.export_bundle`.
        input_shape: Shape of one sample.
        num_classes: Width of the model's output.
        weights: A safetensors file with the whole model's state; None for fresh weights.
        seed: Seed of the initial weights.

    Raises:
        ExportError: The model cannot be made.
    """
    return from_factory(
        model, kwargs, input_shape, num_classes, weights=weights, seed=seed, say=_silent
    )


def bundle_source(bundle: Bundle) -> Source:
    """Make the model that a bundle was cut from, with the bundle's weights.

    Args:
        bundle: The whole bundle.

    Raises:
        ExportError: Its factory is not one that slfac brings: no other code is run for a bundle.
        BundleError: It has a head, or its weights do not fit the model.
    """
    manifest = bundle.manifest
    factory = manifest.back.factory
    if factory != ONNX_FACTORY and not factory.startswith(f"{MODELS_MODULE}:"):
        raise ExportError(
            f"{bundle.path} was made by {factory!r}, which is not imported for a bundle's sake",
            "give --model, --input and --classes instead",
        )
    if manifest.head or not manifest.back.cut:
        raise BundleError(
            f"{bundle.path} is not cut once", "give one whose back half goes to the model's end"
        )
    source = from_factory(
        factory,
        manifest.back.kwargs,
        manifest.input.shape,
        None,
        weights=None,
        seed=0,
        say=_silent,
    )
    source = replace(source, name=manifest.model)
    tensors = {**_back_state(bundle), **bundle.front_state()}
    state = {name: torch.from_numpy(value) for name, value in tensors.items()}
    try:
        source.model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        first = str(error).splitlines()[0]
        raise BundleError(f"{bundle.path}: {first}", "export it again") from error
    return source


def try_cuts(
    source: Source, cuts: Sequence[str] | None, batches: Sequence[Batch], loss: Loss
) -> Iterator[Trial]:
    """Run front and back of each cut on some batches, in training mode.

    Args:
        source: The model; its BatchNorm statistics move, its weights do not.
        cuts: Names of cuts; None for all where one tensor crosses.
        batches: Inputs, ``(B, ...) float32``, and targets of the loss.
        loss: The loss.

    Yields:
        One trial a cut, in the order given.

    Raises:
        ExportError: The model cannot be cut there, or not followed.
    """
    graph = trace_model(source.model, source.input_shape)
    places = _places(graph, cuts)
    described = describe_cuts(graph, places, source.input_shape)
    for place, cut in zip(places, described, strict=True):
        yield _try(graph, place, cut, batches, loss)


def _places(graph: ModelGraph, cuts: Sequence[str] | None) -> list[Place]:
    if cuts is not None:
        return [find_cut(graph, name) for name in cuts]
    places = [place for place in legal_cuts(graph) if len(place.shapes) == 1]
    if not places:
        raise ExportError("the model has no cut where one tensor crosses", "name cuts: --cuts")
    return places


def _try(graph: ModelGraph, place: Place, cut: Cut, batches: Sequence[Batch], loss: Loss) -> Trial:
    front, back = halves(graph, place)
    front.train()
    back.train()
    smashed, gradients, back_ms = [], [], []
    # The first run is not timed: torch prepares a lot in it.
    for index, (x, y) in enumerate([batches[0], *batches]):
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(0)
            crossing = front(torch.from_numpy(x))
        crossing = crossing if isinstance(crossing, tuple) else (crossing,)
        leaves = [tensor.detach().clone().requires_grad_() for tensor in crossing]
        begin = time.process_time()
        found = _gradients(back, leaves, torch.from_numpy(y), loss)
        took_ms = 1e3 * (time.process_time() - begin)
        if index:
            smashed.append([tensor.detach().numpy() for tensor in leaves])
            gradients.append([tensor.numpy() for tensor in found])
            back_ms.append(took_ms)
    state = front.state_dict().values()
    size = sum(tensor.numel() * tensor.element_size() for tensor in state)
    return Trial(cut, smashed, gradients, back_ms, size)


def _gradients(back: nn.Module, leaves: list[Tensor], target: Tensor, loss: Loss) -> list[Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        torch.autograd.backward(mean_loss(loss, back(*leaves), target))
    back.zero_grad(set_to_none=True)
    return [leaf.grad if leaf.grad is not None else torch.zeros_like(leaf) for leaf in leaves]


def _back_state(bundle: Bundle) -> State:
    try:
        state: State = safetensors.numpy.load_file(bundle.file(BACK_FILE))
    except (OSError, safetensors.SafetensorError, KeyError, ValueError) as error:
        raise BundleError(f"{bundle.path / BACK_FILE} cannot be read: {error}") from error
    return state


def _silent(line: str) -> None:
    del line

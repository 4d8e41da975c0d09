"""Exports a model as a bundle: split, trace, cut, write, prove."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from torch import nn

import slfac
from slfac.export.arguments import judging
from slfac.export.costs import Cut, describe_cuts, front_costs
from slfac.export.cuts import find_cut, find_head_cut, halves, legal_cuts, thirds
from slfac.export.freeze import freeze
from slfac.export.graph import ModelGraph, output_node, trace_model
from slfac.export.graph_files import front_files, head_files
from slfac.export.half import Half
from slfac.export.source import Source, from_factory, from_onnx
from slfac.export.to_onnx import OPSET
from slfac.export.trace import X, smashed_names
from slfac.export.verify import Check, verify_bundle
from slfac.export.verify_head import verify_head
from slfac.wire.bundle import BACK_FILE, FRONT_FILE, Bundle, pack_state, write_bundle
from slfac.wire.costs import COSTS_FILE, encode_costs
from slfac.wire.errors import ExportError
from slfac.wire.manifest import (
    HEAD_SCHEMA_VERSION,
    SCHEMA_VERSION,
    BackSpec,
    Loss,
    Manifest,
    Preprocessing,
    TensorSpec,
)


@dataclass(frozen=True)
class ExportResult:
    """What an export gave.

    Attributes:
        bundle: The bundle, as it stands on disk.
        checks: How its graphs compared with torch; all of them passed.
    """

    bundle: Bundle
    checks: list[Check]


def export_bundle(
    *,
    model: str = "cnn",
    kwargs: Mapping[str, Any] | None = None,
    weights: Path | None = None,
    onnx: Path | None = None,
    cut: str,
    head_cut: str = "",
    input_shape: tuple[int, ...] | None = None,
    out: Path,
    num_classes: int | None = None,
    seed: int = 0,
    freeze_bn: bool = False,
    train_from: str | None = None,
    recompute: bool = False,
    preprocessing: Preprocessing | None = None,
    loss: Loss = "cross_entropy",
    prove: bool = True,
    on_progress: Callable[[str], None] | None = None,
) -> ExportResult:
    """Cut a model, write its bundle, and prove it against torch.

    The same arguments give the same bytes, and so the same bundle id, on one machine.

    Args:
        model: A model of :mod:`slfac.export.models`, or the path of a factory,
            ``package.module:function``, which is imported.
        kwargs: JSON values for the factory; ``num_classes`` and ``input_shape`` are added
            where it takes them.
        weights: A safetensors file with the whole model's state; None for what the factory
            gives.
        onnx: A file that holds the model and its weights, in place of the four arguments
            before this one and of ``seed``. A last Softmax before ``cross_entropy``, or a
            Sigmoid before ``bce_with_logits``, is left out.
        cut: A module or node, as :func:`model_cuts` names them.
        head_cut: A second one behind it: what follows, and the loss, are trained on the
            device too, and the back half is what lies between. Empty for a back half to the
            model's end.
        input_shape: Shape of one sample, such as ``(C, H, W)``. None takes that of the
            ONNX file, where it says every axis but the batch; a factory's must be given.
        out: The bundle's folder; a bundle that stands there is replaced.
        num_classes: Width of the model's output; None takes what it has.
        seed: Seed of the initial weights.
        freeze_bn: Whether BatchNorm of the front and head keeps its running statistics as they
            are, and normalises with them; its weights are still trained.
        train_from: A module or node of the front: what it needs stays as it is, in
            evaluation mode. None trains all of the front.
        recompute: Whether the backward graph runs the forward anew, so that between the
            two a device holds the front's input and nothing else.
        preprocessing: From stored values to the model's input; by default what 8-bit
            images want, a scale of 1/255.
        loss: ``cross_entropy``, ``bce_with_logits`` or ``mse``.
        prove: Whether to compare the graphs with torch. A bundle that was not compared is good
            for measuring its time, and for nothing else.
        on_progress: Called with a line of text before each stage.

    Returns:
        The bundle and its checks; without a proof there are none.

    Raises:
        ExportError: The model, cut, shape or an argument cannot be used, an operator has
            no translation, or the graphs do not do what torch does.
        BundleError: ``out`` cannot be written, or holds something that is no bundle.
    """
    say = on_progress or _silent
    preprocessing = preprocessing or Preprocessing(scale=1 / 255)
    if onnx is None:
        source = from_factory(
            model, kwargs or {}, input_shape, num_classes, weights=weights, seed=seed, say=say
        )
    else:
        source = from_onnx(onnx, input_shape=input_shape, loss=loss, say=say)
    shape = source.input_shape
    graph, outputs = _traced(source, num_classes)
    _check_choices(preprocessing, loss, channels=shape[0])
    parts = _cut(graph, cut, head_cut, train_from=train_from, freeze_bn=freeze_bn)
    files, fields = _graph_files(parts, shape, cut, head_cut, loss, outputs, recompute, say)
    manifest = Manifest(
        schema_version=SCHEMA_VERSION if parts.head is None else HEAD_SCHEMA_VERSION,
        slfac_version=slfac.__version__,
        model=source.name,
        cut=cut,
        opset=OPSET,
        input=TensorSpec(name=X, shape=shape),
        smashed=tuple(
            TensorSpec(name=name, shape=crossing)
            for name, crossing in zip(smashed_names(len(parts.shapes)), parts.shapes, strict=True)
        ),
        num_outputs=outputs,
        loss=loss,
        preprocessing=preprocessing,
        back=BackSpec(factory=source.factory, kwargs=source.kwargs, cut=cut),
        files={},
        **fields,
    )
    state = {} if parts.head is None else _numpy_state(parts.head)
    costs = front_costs(graph, find_cut(graph, cut), shape, recompute=recompute)
    files[COSTS_FILE] = encode_costs(costs)
    files[FRONT_FILE] = pack_state({**state, **_numpy_state(parts.front)})
    files[BACK_FILE] = pack_state(_numpy_state(parts.back))
    checks = _prove(manifest, files, parts, say) if prove else []
    say(f"writing {out}")
    return ExportResult(write_bundle(out, manifest, files), checks)


def model_cuts(
    *,
    model: str = "cnn",
    kwargs: Mapping[str, Any] | None = None,
    onnx: Path | None = None,
    input_shape: tuple[int, ...] | None = None,
    num_classes: int | None = None,
) -> list[Cut]:
    """Every legal cut of a model that :func:`export_bundle` could build.

    Args:
        model: As for :func:`export_bundle`.
        kwargs: As for :func:`export_bundle`.
        onnx: As for :func:`export_bundle`.
        input_shape: As for :func:`export_bundle`.
        num_classes: Width of the model's output.

    Returns:
        The cuts, in the model's order.

    Raises:
        ExportError: The model, shape or an argument cannot be used.
    """
    if onnx is None:
        source = from_factory(
            model, kwargs or {}, input_shape, num_classes, weights=None, seed=0, say=_silent
        )
    else:
        source = from_onnx(onnx, input_shape=input_shape, loss="mse", say=_silent)
    graph = trace_model(source.model, source.input_shape)
    return describe_cuts(graph, legal_cuts(graph), source.input_shape)


def _traced(source: Source, num_classes: int | None) -> tuple[ModelGraph, int]:
    with judging("model"):
        graph = trace_model(source.model, source.input_shape)
        return graph, _outputs(graph, num_classes)


def _silent(line: str) -> None:
    del line


@dataclass(frozen=True)
class _Parts:
    """A model in two, or in three with its head.

    Attributes:
        front: Up to the cut.
        back: What the server has.
        head: What follows; None where the back goes to the end.
        rest: All behind the cut.
        shapes: Of what crosses at the cut.
        middle_shapes: Of what crosses at the second cut.
    """

    front: Half
    back: Half
    head: Half | None
    rest: Half
    shapes: tuple[tuple[int, ...], ...]
    middle_shapes: tuple[tuple[int, ...], ...]


def _cut(
    graph: ModelGraph, cut: str, head_cut: str, *, train_from: str | None, freeze_bn: bool
) -> _Parts:
    with judging("cut"):
        place = find_cut(graph, cut)
    with judging("head_cut"):
        head_place = find_head_cut(graph, head_cut, place) if head_cut else None
    kept = freeze(graph, place, train_from=train_from, statistics=freeze_bn, head=head_place)
    front, rest = halves(graph, place)
    front.keep_evaluating(kept)
    if head_place is None:
        return _Parts(front, rest, None, rest, place.shapes, ())
    rest.keep_evaluating(kept)
    _, middle, head = thirds(graph, place, head_place)
    head.keep_evaluating(kept)
    return _Parts(front, middle, head, rest, place.shapes, head_place.shapes)


def _graph_files(  # noqa: PLR0917 - the choices of an export
    parts: _Parts,
    input_shape: tuple[int, ...],
    cut: str,
    head_cut: str,
    loss: Loss,
    num_outputs: int,
    recompute: bool,
    say: Callable[[str], None],
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Graphs of what the devices have, and what the manifest says of them."""
    files, fields = front_files(
        parts.front, input_shape, what=f"the front up to {cut}", recompute=recompute, say=say
    )
    if parts.head is None:
        return files, fields
    head, fields = head_files(
        parts.head,
        parts.middle_shapes,
        front=fields,
        cut=head_cut,
        loss=loss,
        num_outputs=num_outputs,
        say=say,
    )
    return {**files, **head}, fields


def _outputs(graph: ModelGraph, num_classes: int | None) -> int:
    value = graph.values[output_node(graph.train).name]
    if value.kind != "smashable" or len(value.shape) != 1:
        raise ExportError(
            f"the model gives {value.shape} a sample", "give a model with one row a sample"
        )
    if num_classes not in {None, value.shape[0]}:
        raise ExportError(
            f"the model has {value.shape[0]} outputs, not {num_classes}",
            "give --classes as the model has them, or a model with as many",
        )
    return value.shape[0]


def _check_choices(preprocessing: Preprocessing, loss: str, channels: int) -> None:
    losses = get_args(Loss)
    if loss not in losses:
        raise ExportError(f"loss is {loss!r}", f"choose one of {', '.join(losses)}")
    for name, values in (("mean", preprocessing.mean), ("std", preprocessing.std)):
        if len(values) not in {1, channels}:
            raise ExportError(
                f"preprocessing {name} has {len(values)} values for {channels} channels",
                "give one value, or one a channel",
            )
    numbers = (preprocessing.scale, *preprocessing.mean, *preprocessing.std)
    if not all(math.isfinite(number) for number in numbers) or min(preprocessing.std) <= 0:
        raise ExportError(
            f"preprocessing holds {numbers}", "give finite numbers, and std above zero"
        )


def _numpy_state(module: nn.Module) -> dict[str, np.ndarray]:
    return {name: value.detach().numpy() for name, value in module.state_dict().items()}


def _prove(
    manifest: Manifest, files: Mapping[str, bytes], parts: _Parts, say: Callable[[str], None]
) -> list[Check]:
    """Verify in a folder of its own, so that nothing unproven ever stands at ``out``."""
    with tempfile.TemporaryDirectory(prefix="slfac-export-") as folder:
        bundle = write_bundle(Path(folder) / "bundle", manifest, files)
        checks = verify_bundle(bundle, parts.front, lambda i, n: say(f"verifying, step {i} of {n}"))
        if parts.head is None:
            return checks
        say("verifying the head, and all three parts together")
        return [*checks, *verify_head(bundle, parts.front, parts.back, parts.head, parts.rest)]

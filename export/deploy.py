"""Writes a trained model as one plain ONNX file: ``slfac export infer``."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec
import onnx
import torch
from torch import nn

import slfac
from slfac.export.checkpoint import Checkpoint, open_checkpoint
from slfac.export.deploy_check import Agreement, compare, reference
from slfac.export.deploy_graph import (
    LOGITS,
    Stored,
    back_graph,
    front_graph,
    head_graph,
    joined,
    with_notes,
    with_preprocessing,
)
from slfac.export.fold import fold
from slfac.export.onnx_clean import clean, to_bytes
from slfac.export.rebuild import back_half
from slfac.export.to_onnx import quiet_torch
from slfac.wire.bundle import Bundle, open_bundle
from slfac.wire.errors import BundleError, ExportError, SlfacError
from slfac.wire.factories import DEFAULT_ALLOWED, check_allowed, import_allowed
from slfac.wire.manifest import Graph

Part = Literal["front", "whole"]


@dataclass(frozen=True)
class InferExport:
    """A deployment file.

    Attributes:
        path: Where it is.
        length_bytes: Its size.
        finished_rounds: Rounds of training behind its weights.
        agreement: How it compared with the run's own evaluation.
    """

    path: Path
    length_bytes: int
    finished_rounds: int
    agreement: Agreement


def export_infer(
    *,
    bundle: Path,
    checkpoint: Path,
    out: Path,
    part: Part = "whole",
    stored: Stored | None = None,
    allow: Sequence[str] = DEFAULT_ALLOWED,
    force: bool = False,
    on_progress: Callable[[str], None] | None = None,
) -> InferExport:
    """Write the model that a run trained as one ONNX file that needs nothing else.

    Weights are inside, constants are computed, BatchNorm is folded into the convolutions
    before it; opset 18, IR version 10, any batch size. From ``x`` to ``logits``, or for the
    front to its smashed tensors. What it is stands in its ``metadata_props``.

    Args:
        bundle: The bundle that was trained.
        checkpoint: The run's folder ``checkpoint``, or ``best`` or a round in it.
        out: The file to write.
        part: The front alone, or front and back, and the head where there is one.
        stored: Type of stored values that the file shall take and preprocess itself; None
            leaves preprocessing to whoever runs it.
        allow: Factories that may build the back half, as the server takes them.
        force: Whether to replace a file that is there already.
        on_progress: Called with a line of text before each stage.

    Returns:
        The file, and how it compared.

    Raises:
        BundleError: The bundle or checkpoint cannot be read, they do not belong together,
            or the back half's factory is not allowed.
        ExportError: ``out`` cannot be written or is there already, the back half cannot be
            translated, or the file does not do what the run's evaluation does.
    """
    say = on_progress or (lambda _line: None)
    source = open_bundle(bundle)
    trained = open_checkpoint(checkpoint, source)
    manifest = source.manifest
    with _new_file(out, force=force) as file:
        back = _trained_back(source, trained, allow) if part == "whole" else None
        expected = reference(source, trained.front, back)
        say(f"translating the {part} of {manifest.model}, round {trained.finished_rounds}")
        graph = front_graph(_graph(source, manifest.graphs.infer), trained.front)
        if back is not None and manifest.head:
            outputs = [spec.name for spec in manifest.head.inputs]
            graph = joined(graph, back_graph(back, manifest.smashed, outputs))
            head = head_graph(_graph(source, manifest.head.infer), trained.front)
            graph = joined(graph, head)
        elif back is not None:
            graph = joined(graph, back_graph(back, manifest.smashed, [LOGITS]))
        if stored is not None:
            graph = with_preprocessing(graph, manifest.preprocessing, stored)
        notes = _notes(source, trained, part, stored)
        data = to_bytes(with_notes(clean(_folded(graph)), notes))
        say("comparing it with infer.onnx and torch")
        agreement = compare(data, expected, manifest, stored)
        file.write(data)
    return InferExport(out, len(data), trained.finished_rounds, agreement)


def _graph(bundle: Bundle, graph: Graph) -> onnx.ModelProto:
    return onnx.load_model(bundle.file(graph.file), load_external_data=False)


def _folded(graph: onnx.ModelProto) -> onnx.ModelProto:
    try:
        with quiet_torch():
            return fold(graph)
    # Whatever its passes raise on a graph that they do not understand.
    except Exception as error:
        raise ExportError(
            f"the graph cannot be folded: {type(error).__name__}: {error}",
            "report it with the model",
        ) from error


def _trained_back(bundle: Bundle, trained: Checkpoint, allow: Sequence[str]) -> nn.Module:
    manifest = bundle.manifest
    check_allowed(manifest.back.factory, allow, bundle=bundle.path)
    state = {name: torch.from_numpy(value) for name, value in trained.back().items()}
    spec = manifest.back
    try:
        factory = import_allowed(spec.factory, allow)
        back: object = (
            back_half(
                factory,
                spec.kwargs,
                spec.cut,
                manifest.input.shape,
                manifest.head.cut if manifest.head else "",
            )
            if spec.cut
            else factory(**spec.kwargs)
        )
        if not isinstance(back, nn.Module):
            raise TypeError(f"it made a {type(back).__name__}, not a torch module")
        back.load_state_dict(state, strict=True)
    except SlfacError:
        raise
    # A factory is anyone's code, and anything may come out of it.
    except Exception as error:
        raise BundleError(
            f"the back half {spec.factory} of bundle {bundle.path} cannot take the weights of "
            f"{trained.path}: {error}",
            "use the model's code as it was when the bundle was exported",
        ) from error
    return back.eval()


def _notes(
    bundle: Bundle, trained: Checkpoint, part: Part, stored: Stored | None
) -> dict[str, str]:
    manifest = bundle.manifest
    return {
        "slfac_version": slfac.__version__,
        "bundle": bundle.id,
        "model": manifest.model,
        "cut": manifest.cut,
        "part": part,
        "finished_rounds": str(trained.finished_rounds),
        "classes": str(manifest.num_outputs),
        "loss": manifest.loss,
        "preprocessing": msgspec.json.encode(manifest.preprocessing).decode(),
        "preprocessing_inside": stored or "no",
    }


@contextlib.contextmanager
def _new_file(path: Path, *, force: bool) -> Iterator[BinaryIO]:
    """A file beside ``path`` that takes its name once all has gone well."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if path.is_dir() or (path.exists() and not force):
            raise ExportError(
                f"{path} exists already", "choose another file, or replace it with --force"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        with fresh.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        raise ExportError(f"cannot write {path}: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)

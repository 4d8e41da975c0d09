"""Exports a model as a bundle: split, trace, cut, write, prove."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import nn

import slfac
from slfac.export.describe import (
    BACKWARD_FILE,
    FORWARD_FILE,
    INFER_FILE,
    describe_buffers,
    describe_graphs,
    describe_parameters,
)
from slfac.export.infer import trace_inference
from slfac.export.onnx_clean import clean, to_bytes
from slfac.export.onnx_cut import cut_training_step
from slfac.export.rebuild import BACK_FACTORY, build_model, factory_path
from slfac.export.split import Cut, list_cuts, run_once, split
from slfac.export.to_onnx import OPSET
from slfac.export.trace import SMASHED, X, trace_training_step
from slfac.export.verify import Check, verify_bundle
from slfac.wire.bundle import BACK_FILE, FRONT_FILE, Bundle, pack_state, write_bundle
from slfac.wire.errors import ExportError
from slfac.wire.manifest import (
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
    cut: str,
    input_shape: tuple[int, ...],
    out: Path,
    num_classes: int,
    seed: int = 0,
    preprocessing: Preprocessing | None = None,
    loss: Loss = "cross_entropy",
    on_progress: Callable[[str], None] | None = None,
) -> ExportResult:
    """Cut a model, write its bundle, and prove it against torch.

    The same arguments give the same bytes, and so the same bundle id, on one machine.

    Args:
        model: ``cnn``, ``resnet18``, or the path of an allow-listed factory.
        kwargs: JSON values for the factory, beside ``num_classes`` and ``input_shape``.
        cut: Name of the front's last module.
        input_shape: Shape of one sample, ``(C, H, W)``.
        out: The bundle's folder; a bundle that stands there is replaced.
        num_classes: Width of the model's output.
        seed: Seed of the initial weights.
        preprocessing: From stored values to the model's input; by default what 8-bit
            images want, a scale of 1/255.
        loss: ``cross_entropy``, ``bce_with_logits`` or ``mse``.
        on_progress: Called with a line of text before each stage.

    Returns:
        The bundle and its checks.

    Raises:
        ExportError: The model, cut, shape or an argument cannot be used, an operator has
            no translation, or the graphs do not do what torch does.
        BundleError: ``out`` cannot be written, or holds something that is no bundle.
    """
    say = on_progress or (lambda _line: None)
    preprocessing = preprocessing or Preprocessing(scale=1 / 255)
    arguments = {**(kwargs or {}), "num_classes": num_classes, "input_shape": list(input_shape)}
    factory = factory_path(model)
    say(f"building {model} with seed {seed}")
    whole = _seeded_model(factory, arguments, seed)
    _check_choices(preprocessing, loss, channels=input_shape[0])
    front, back = split(whole, cut)
    smashed_shape = run_once(front, input_shape)
    run_once(whole, input_shape)
    say(f"tracing the training step of the front up to {cut}")
    trace = trace_training_step(front, input_shape)
    halves = cut_training_step(trace)
    say("tracing the front for evaluation")
    graphs = {
        FORWARD_FILE: clean(halves.forward),
        BACKWARD_FILE: clean(halves.backward),
        INFER_FILE: clean(trace_inference(front, input_shape)),
    }
    manifest = Manifest(
        slfac_version=slfac.__version__,
        model=model,
        cut=cut,
        opset=OPSET,
        batch_norm=bool(trace.new_buffers),
        input=TensorSpec(name=X, shape=tuple(input_shape)),
        smashed=(TensorSpec(name=SMASHED, shape=smashed_shape),),
        parameters=describe_parameters(front),
        buffers=describe_buffers(front, trace),
        graphs=describe_graphs(graphs, trace),
        num_outputs=num_classes,
        loss=loss,
        preprocessing=preprocessing,
        back=BackSpec(
            factory=BACK_FACTORY, kwargs={"model": factory, "kwargs": arguments, "cut": cut}
        ),
        files={},
    )
    files = {name: to_bytes(graph) for name, graph in graphs.items()}
    files[FRONT_FILE] = pack_state(_numpy_state(front))
    files[BACK_FILE] = pack_state(_numpy_state(back))
    checks = _prove(manifest, files, front, say)
    say(f"writing {out}")
    return ExportResult(write_bundle(out, manifest, files), checks)


def model_cuts(
    *,
    model: str = "cnn",
    kwargs: Mapping[str, Any] | None = None,
    input_shape: tuple[int, ...],
    num_classes: int,
) -> list[Cut]:
    """Every legal cut of a model that :func:`export_bundle` could build.

    Args:
        model: As for :func:`export_bundle`.
        kwargs: As for :func:`export_bundle`.
        input_shape: Shape of one sample.
        num_classes: Width of the model's output.

    Returns:
        The cuts, in the model's order.

    Raises:
        ExportError: The model, shape or an argument cannot be used.
    """
    arguments = {**(kwargs or {}), "num_classes": num_classes, "input_shape": list(input_shape)}
    return list_cuts(build_model(factory_path(model), arguments), input_shape)


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


def _seeded_model(factory: str, kwargs: Mapping[str, Any], seed: int) -> nn.Sequential:
    if not 0 <= seed < 1 << 63:
        raise ExportError(f"seed is {seed}", "give a whole number from 0 to 2^63 - 1")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_model(factory, kwargs)


def _numpy_state(module: nn.Module) -> dict[str, np.ndarray]:
    return {name: value.detach().numpy() for name, value in module.state_dict().items()}


def _prove(
    manifest: Manifest,
    files: Mapping[str, bytes],
    front: nn.Module,
    say: Callable[[str], None],
) -> list[Check]:
    """Verify in a folder of its own, so that nothing unproven ever stands at ``out``."""
    with tempfile.TemporaryDirectory(prefix="slfac-export-") as folder:
        bundle = write_bundle(Path(folder) / "bundle", manifest, files)
        return verify_bundle(bundle, front, lambda i, n: say(f"verifying, step {i} of {n}"))

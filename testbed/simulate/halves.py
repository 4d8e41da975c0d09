"""A bundle's front and head in torch, rebuilt as a server rebuilds its back half."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from slfac.export.cuts import find_cut, find_head_cut, halves, thirds
from slfac.export.draws import list_draws
from slfac.export.graph import trace_model
from slfac.export.half import Half
from slfac.export.rebuild import build_model
from slfac.wire.bundle import Bundle
from slfac.wire.errors import BundleError, ExportError
from slfac.wire.factories import check_allowed, import_allowed


@dataclass(frozen=True)
class DeviceHalves:
    """What a device computes.

    Attributes:
        front: The front, in training mode.
        head: The head, likewise; None where the bundle has none.
    """

    front: Half
    head: Half | None


def device_halves(bundle: Bundle, allow: Sequence[str], device: torch.device) -> DeviceHalves:
    """Rebuild what devices compute; its weights are to be given at each call.

    Args:
        bundle: The bundle.
        allow: What may build its model, as for a server's back half.
        device: Where to compute.

    Returns:
        Front and head.

    Raises:
        BundleError: The factory is not allowed or fails, or does not make what the bundle's
            graphs compute.
    """
    spec = bundle.manifest.back
    check_allowed(spec.factory, allow, bundle=bundle.path)
    if not spec.cut:
        raise BundleError(
            f"bundle {bundle.path} says how its back half is built, and not its front",
            "export it with `slfac export`, or train it with real devices",
        )
    try:
        # The run's own draws begin where they begin without a simulation.
        with torch.random.fork_rng(devices=[]):
            made = _cut(bundle, build_model(import_allowed(spec.factory, allow), spec.kwargs))
    except (ExportError, ImportError, AttributeError) as error:
        raise BundleError(
            f"bundle {bundle.path}: its front {spec.factory} cannot be rebuilt: {error}",
            "export it again with this release",
        ) from error
    _freeze_statistics(bundle, [made.front, *([made.head] if made.head else [])])
    _check_draws(bundle, made)
    for half in (made.front, made.head):
        if half is not None:
            half.to(device)
    return made


def _cut(bundle: Bundle, model: nn.Module) -> DeviceHalves:
    manifest = bundle.manifest
    graph = trace_model(model, manifest.input.shape)
    place = find_cut(graph, manifest.back.cut)
    if place.shapes != tuple(spec.shape for spec in manifest.smashed):
        raise ExportError(f"at its cut, its model has tensors of shapes {place.shapes}")
    if not manifest.head:
        front, _ = halves(graph, place)
        return DeviceHalves(front.train(), None)
    front, _, head = thirds(graph, place, find_head_cut(graph, manifest.head.cut, place))
    return DeviceHalves(front.train(), head.train())


def _freeze_statistics(bundle: Bundle, parts: Sequence[Half]) -> None:
    """Keep what the export has frozen: BatchNorm whose statistics no step changes."""
    fixed = {b.tensor.name for b in bundle.manifest.buffers if b.update == "none"}
    for half in parts:
        half.keep_evaluating(
            module
            for path, module in half.named_modules()
            if isinstance(module, _BatchNorm) and f"{path}.running_mean" in fixed
        )


def _check_draws(bundle: Bundle, made: DeviceHalves) -> None:
    manifest = bundle.manifest
    found = [(spec.shape, spec.per_sample) for spec in list_draws(made.front, manifest.input.shape)]
    wanted = [(spec.shape, spec.per_sample) for spec in manifest.random]
    if found != wanted:
        raise BundleError(
            f"bundle {bundle.path}: a step of its front draws {len(wanted)} random tensors, and "
            f"that of its model in torch {len(found)}",
            "a front with frozen dropout cannot be simulated: export it without --train-from",
        )

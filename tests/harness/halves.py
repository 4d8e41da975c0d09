"""A bundle's model in torch, whole and in two, with the weights that the bundle holds."""

from __future__ import annotations

from safetensors.torch import load_file
from torch import nn

from slfac.export.half import Half
from slfac.export.rebuild import build_model, find_factory
from slfac.export.split import split
from slfac.wire.bundle import Bundle


def torch_model(bundle: Bundle) -> nn.Module:
    """The whole model, with fresh weights."""
    spec = bundle.manifest.back
    return build_model(find_factory(spec.factory), spec.kwargs)


def torch_halves(bundle: Bundle) -> tuple[Half, Half]:
    """Front and back, with the bundle's initial weights."""
    manifest = bundle.manifest
    halves = split(torch_model(bundle), manifest.back.cut, manifest.input.shape)
    halves.front.load_state_dict(load_file(bundle.path / "front.safetensors"))
    halves.back.load_state_dict(load_file(bundle.path / "back.safetensors"))
    return halves.front, halves.back

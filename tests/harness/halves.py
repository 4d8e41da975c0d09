"""A bundle's model in torch, whole and in two, with the weights that the bundle holds."""

from __future__ import annotations

from safetensors.torch import load_file
from torch import nn

from slfac.export.cuts import find_cut, find_head_cut, thirds
from slfac.export.graph import trace_model
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


def torch_thirds(bundle: Bundle) -> tuple[Half, Half, Half]:
    """Front, middle and head, with the bundle's initial weights."""
    manifest = bundle.manifest
    graph = trace_model(torch_model(bundle), manifest.input.shape)
    place = find_cut(graph, manifest.back.cut)
    front, middle, head = thirds(graph, place, find_head_cut(graph, manifest.head.cut, place))
    own = load_file(bundle.path / "front.safetensors")
    for half in (front, head):
        half.load_state_dict({name: own[name] for name in half.state_dict()})
    middle.load_state_dict(load_file(bundle.path / "back.safetensors"))
    return front.train(), middle.train(), head.train()

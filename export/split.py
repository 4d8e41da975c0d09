"""Splits an ordered model at a named cut into front and back, keeping parameter names."""

from __future__ import annotations

import contextlib
import difflib
import math
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from slfac.wire.errors import ExportError


@dataclass(frozen=True)
class Cut:
    """A place where a model can be cut.

    Attributes:
        name: Name of the last module of the front.
        smashed_shape: Shape of the activation there, without the batch axis.
        front_parameters: Trainable values of the front.
    """

    name: str
    smashed_shape: tuple[int, ...]
    front_parameters: int

    @property
    def smashed_bytes(self) -> int:
        """Bytes of one sample's smashed data in float32, before any codec."""
        return 4 * math.prod(self.smashed_shape)


def split(model: nn.Sequential, cut: str) -> tuple[nn.Sequential, nn.Sequential]:
    """Split a model after the module of the given name.

    Args:
        model: Named children, nested where they are ``nn.Sequential`` themselves.
        cut: Name of the last module of the front, such as ``pool1`` or ``layer1.0``.

    Returns:
        Front and back, which share the model's modules and name them as it does.

    Raises:
        ExportError: There is no such cut; the message names those that are near.
    """
    names = cut_names(model)
    if cut not in names:
        near = difflib.get_close_matches(cut, names, n=4, cutoff=0.4) or names
        raise ExportError(f"cut {cut!r} is not in the model", f"choose one of {', '.join(near)}")
    return _split(model, cut.split("."))


def cut_names(model: nn.Sequential) -> list[str]:
    """Names of every legal cut, in the model's order.

    A cut is legal where both front and back have something to train.

    Args:
        model: As for :func:`split`.

    Returns:
        Names that :func:`split` takes.
    """
    return [
        name
        for name in _ordered_names(model)
        if all(any(True for _ in half.parameters()) for half in _split(model, name.split(".")))
    ]


def list_cuts(model: nn.Sequential, input_shape: tuple[int, ...]) -> list[Cut]:
    """Every legal cut with what it would mean.

    Args:
        model: As for :func:`split`.
        input_shape: Shape of one sample.

    Returns:
        The cuts, in the model's order.

    Raises:
        ExportError: The model cannot take such an input.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    names = cut_names(model)

    def note(name: str) -> None:
        def hook(_module: nn.Module, _inputs: object, output: torch.Tensor) -> None:
            shapes[name] = tuple(output.shape[1:])

        handles.append(model.get_submodule(name).register_forward_hook(hook))

    handles: list[torch.utils.hooks.RemovableHandle] = []
    for name in names:
        note(name)
    try:
        run_once(model, input_shape)
    finally:
        for handle in handles:
            handle.remove()
    return [
        Cut(
            name=name,
            smashed_shape=shapes[name],
            front_parameters=sum(p.numel() for p in split(model, name)[0].parameters()),
        )
        for name in names
    ]


def run_once(model: nn.Module, input_shape: tuple[int, ...]) -> tuple[int, ...]:
    """Run a model on one sample of zeros, in evaluation mode.

    Args:
        model: Any model; its mode is restored.
        input_shape: Shape of one sample.

    Returns:
        Shape of the output, without the batch axis.

    Raises:
        ExportError: The model cannot take such an input.
    """
    with _evaluation(model), torch.no_grad():
        try:
            output = model(torch.zeros(1, *input_shape))
        except RuntimeError as error:
            first = str(error).splitlines()[0]
            raise ExportError(
                f"the model cannot take an input of {'x'.join(map(str, input_shape))}: {first}"
            ) from error
    return tuple(output.shape[1:])


@contextlib.contextmanager
def _evaluation(model: nn.Module) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def _ordered_names(model: nn.Sequential, prefix: str = "") -> Iterator[str]:
    for name, child in model.named_children():
        if isinstance(child, nn.Sequential):
            yield from _ordered_names(child, f"{prefix}{name}.")
        yield prefix + name


def _split(model: nn.Sequential, path: list[str]) -> tuple[nn.Sequential, nn.Sequential]:
    front: OrderedDict[str, nn.Module] = OrderedDict()
    back: OrderedDict[str, nn.Module] = OrderedDict()
    half = front
    for name, child in model.named_children():
        half[name] = child
        if name == path[0]:
            half = back
            if len(path) > 1 and isinstance(child, nn.Sequential):
                front[name], rest = _split(child, path[1:])
                if len(rest):
                    back[name] = rest
    return nn.Sequential(front), nn.Sequential(back)

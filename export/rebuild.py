"""Builds models from what a command or a manifest says, and back halves from models.

This module needs torch alone, so that a server without the exporter's packages can use it.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from slfac.export.half import Half
from slfac.export.split import split
from slfac.wire.errors import ExportError, SlfacError

MODELS_MODULE = "slfac.export.models"
Factory = Callable[..., Any]


def back_half(
    factory: Factory,
    kwargs: Mapping[str, Any],
    cut: str,
    input_shape: tuple[int, ...],
    head_cut: str = "",
) -> Half:
    """Build the back half that a bundle's manifest describes.

    Args:
        factory: The model's factory.
        kwargs: JSON values that it takes.
        cut: Name of the cut.
        input_shape: Shape of one sample.
        head_cut: Name of the cut where it ends; empty for a back half to the model's output.

    Returns:
        The back half, in training mode, its parameters named as in the whole model; load
        ``back.safetensors`` into it strictly.

    Raises:
        ExportError: The factory refuses its arguments, or makes a model without that cut.
    """
    return split(build_model(factory, kwargs), cut, input_shape, head_cut).back


def build_model(factory: Factory, kwargs: Mapping[str, Any]) -> nn.Module:
    """Call a model's factory.

    Args:
        factory: As :func:`find_factory` finds it.
        kwargs: What it takes.

    Returns:
        The model, in training mode.

    Raises:
        ExportError: The factory refuses its arguments, fails, or makes no torch module.
    """
    name = f"{factory.__module__}:{getattr(factory, '__qualname__', factory)}"
    taken = _parameters(factory)
    try:
        taken.bind(**kwargs)
    except TypeError as error:
        wanted = ", ".join(taken.parameters)
        raise ExportError(f"arguments of model {name}: {error}", f"it takes {wanted}") from error
    try:
        model = factory(**kwargs)
    except SlfacError:
        raise
    # A factory is anyone's code, and anything may come out of it.
    except Exception as error:
        raise ExportError(f"model {name} failed: {type(error).__name__}: {error}") from error
    if not isinstance(model, nn.Module):
        raise ExportError(f"{name} made a {type(model).__name__}", "give a torch.nn.Module")
    return model.train()


def factory_path(model: str) -> str:
    """Full path of a model's factory: ``cnn`` is short for ``slfac.export.models:cnn``.

    Args:
        model: A short name or a full path.

    Returns:
        ``package.module:name``.
    """
    return model if ":" in model else f"{MODELS_MODULE}:{model}"


def find_factory(path: str) -> Factory:
    """Import a model's factory: any code that can be imported, so only what is trusted.

    Args:
        path: ``package.module:name``.

    Returns:
        The factory.

    Raises:
        ExportError: It cannot be imported, or is nothing to call.
    """
    module_name, _, name = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    # A module is anyone's code, and anything may come out of importing it.
    except Exception as error:
        raise ExportError(
            f"model factory {path!r}: {module_name!r} cannot be imported: {error}",
            "give package.module:function, importable from here",
        ) from error
    public = getattr(module, "__all__", None) or [n for n in dir(module) if not n.startswith("_")]
    found = getattr(module, name, None) if name in public else None
    if not callable(found):
        near = difflib.get_close_matches(name, public, n=4) or sorted(public)[:12]
        raise ExportError(
            f"{module_name} has no model {name!r}", f"choose one of {', '.join(near)}"
        )
    factory: Factory = found
    return factory


def complete(
    factory: Factory,
    kwargs: Mapping[str, Any],
    num_classes: int | None,
    input_shape: tuple[int, ...],
) -> dict[str, Any]:
    """Add ``num_classes`` and ``input_shape`` to the arguments of a factory that takes them.

    Args:
        factory: The factory.
        kwargs: The arguments that were given.
        num_classes: Width of the model's output, where it was given.
        input_shape: Shape of one sample.

    Returns:
        JSON values for the factory.
    """
    taken = _parameters(factory).parameters
    extra: dict[str, Any] = {"input_shape": list(input_shape)}
    if num_classes is not None:
        extra["num_classes"] = num_classes
    return {**{name: extra[name] for name in extra if name in taken}, **kwargs}


def _parameters(factory: Factory) -> inspect.Signature:
    """What a factory takes; of some that are written in C Python knows nothing."""
    try:
        return inspect.signature(factory)
    except ValueError:
        return inspect.Signature([inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD)])

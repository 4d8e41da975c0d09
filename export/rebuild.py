"""Rebuilds models and back halves from what a manifest says, allow-listed by module.

This module needs torch alone, so that a server without the exporter's packages can use it.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from slfac.export.split import split
from slfac.wire.errors import ExportError

BACK_FACTORY = "slfac.export.rebuild:back_half"
MODELS_MODULE = "slfac.export.models"
ALLOWED_MODULES: tuple[str, ...] = (MODELS_MODULE,)


def back_half(model: str, kwargs: dict[str, Any], cut: str) -> nn.Module:
    """Build the back half that a bundle's manifest describes.

    Args:
        model: The model's factory, ``slfac.export.models:cnn``.
        kwargs: JSON values that it takes.
        cut: Name of the cut.

    Returns:
        The back half, in training mode, its parameters named as in the whole model; load
        ``back.safetensors`` into it strictly.

    Raises:
        ExportError: The factory is not allow-listed, refuses its arguments, or makes a
            model without that cut.
    """
    return split(build_model(model, kwargs), cut)[1]


def build_model(factory: str, kwargs: Mapping[str, Any]) -> nn.Sequential:
    """Call a model's factory.

    Args:
        factory: ``package.module:name``.
        kwargs: What it takes.

    Returns:
        The model, in training mode.

    Raises:
        ExportError: The factory is not allow-listed, does not exist, refuses its
            arguments, or makes something that cannot be cut.
    """
    function = _find_factory(factory)
    try:
        inspect.signature(function).bind(**kwargs)
    except TypeError as error:
        wanted = ", ".join(inspect.signature(function).parameters)
        raise ExportError(f"arguments of model {factory}: {error}", f"it takes {wanted}") from error
    model = function(**kwargs)
    if not isinstance(model, nn.Sequential):
        raise ExportError(f"{factory} made a {type(model).__name__}", "give an nn.Sequential")
    return model.train()


def factory_path(model: str) -> str:
    """Full path of a model's factory: ``cnn`` is short for ``slfac.export.models:cnn``.

    Args:
        model: A short name or a full path.

    Returns:
        ``package.module:name``.
    """
    return model if ":" in model else f"{MODELS_MODULE}:{model}"


def _find_factory(factory: str) -> Callable[..., Any]:
    module_name, _, name = factory.partition(":")
    if module_name not in ALLOWED_MODULES:
        raise ExportError(
            f"model factory {factory!r} is not allowed",
            f"use one from {', '.join(ALLOWED_MODULES)}",
        )
    module = importlib.import_module(module_name)
    public: Sequence[str] = getattr(module, "__all__", ())
    if name not in public:
        raise ExportError(
            f"{module_name} has no model {name!r}", f"choose one of {', '.join(sorted(public))}"
        )
    found: Callable[..., Any] = getattr(module, name)
    return found

"""Which code may build a model: the allow-list that a bundle's factory is held against.

A bundle names the factory of its back half, and whoever rebuilds it runs that code. So only
what its user has allowed is imported, whatever a bundle says.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence

from slfac.wire.errors import BundleError

# The models that come with slfac, and the reader of ONNX files: both bound their arguments.
DEFAULT_ALLOWED = ("slfac.export.models", "slfac.export.onnx_model:build")


def check_allowed(path: str, allow: Sequence[str], *, bundle: object) -> None:
    """Refuse a factory that is not on the list.

    Args:
        path: ``package.module:name``.
        allow: ``package.module:callable`` for one callable, ``package.module`` for any that
            it or a module inside it defines.
        bundle: The bundle that names the factory, for the message.

    Raises:
        BundleError: It is not allowed.
    """
    if not any(_allows(entry, path) for entry in allow):
        raise BundleError(
            f"bundle {bundle}: its back half comes from {path}, which is not allowed",
            f"if you trust it, add --allow-factories {path}",
        )


def import_allowed(path: str, allow: Sequence[str]) -> Callable[..., object]:
    """Import a factory that :func:`check_allowed` has let through.

    Args:
        path: ``package.module:name``.
        allow: As for :func:`check_allowed`.

    Returns:
        The factory.

    Raises:
        ImportError: Its module cannot be imported, or has the name only by importing it.
        AttributeError: Its module has no such name.
    """
    module_name, _, attribute = path.partition(":")
    factory: Callable[..., object] = getattr(importlib.import_module(module_name), attribute)
    home = f"{factory.__module__}:{attribute}"
    # A module that is allowed as a whole and imports os.system must not thereby allow it.
    if path not in allow and not any(_allows(entry, home) for entry in allow):
        raise ImportError(f"{module_name} does not define {attribute}")
    return factory


def _allows(entry: str, factory: str) -> bool:
    base = entry.rstrip(".")
    return factory == base or factory.startswith((f"{base}:", f"{base}."))

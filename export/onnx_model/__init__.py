"""Turns an ONNX file into a torch module that is cut, traced and trained as any other.

:func:`read_onnx` reads a file into a *structure*, plain JSON values that say which operator
follows which, and into weights. :func:`build` makes a ``torch.fx.GraphModule`` of a
structure. A server rebuilds a model from the structure in a bundle, so building needs torch
alone; reading needs onnx and onnxruntime too. ``docs/adr/0003-onnx-files.md`` says why.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slfac.export.onnx_model.builder import build
    from slfac.export.onnx_model.reader import read_onnx

__all__ = ["build", "read_onnx"]

_HOME = {"build": "builder", "read_onnx": "reader"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)

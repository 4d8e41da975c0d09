"""Cuts a torch model and writes what a board needs to train the front without torch.

:func:`export_bundle` does the whole; :func:`verify_bundle` proves a bundle again;
:func:`export_infer` writes what a run has trained as one ONNX file. Names load when they
are used: a server imports :mod:`slfac.export.rebuild` from this package
without having the exporter's packages.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slfac.export.bundle import ExportResult, export_bundle, model_cuts
    from slfac.export.costs import Cut
    from slfac.export.deploy import InferExport, export_infer
    from slfac.export.rebuild import back_half
    from slfac.export.verify import Check, verify_bundle

__all__ = [
    "Check",
    "Cut",
    "ExportResult",
    "InferExport",
    "back_half",
    "export_bundle",
    "export_infer",
    "model_cuts",
    "verify_bundle",
]

_HOME = {
    "Check": "verify",
    "Cut": "costs",
    "ExportResult": "bundle",
    "InferExport": "deploy",
    "back_half": "rebuild",
    "export_bundle": "bundle",
    "export_infer": "deploy",
    "model_cuts": "bundle",
    "verify_bundle": "verify",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)

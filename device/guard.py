"""Proof that the agent's process holds no framework that a board should not need."""

from __future__ import annotations

import sys
from typing import Final

from slfac.wire.errors import SlfacError

FOREIGN: Final = ("torch", "onnx")


def foreign_modules() -> tuple[str, ...]:
    """Which of torch and onnx this process has imported."""
    return tuple(name for name in FOREIGN if name in sys.modules)


def require_torch_free() -> None:
    """Refuse to run in a process that has imported torch or onnx.

    Raises:
        SlfacError: It has.
    """
    found = foreign_modules()
    if found:
        raise SlfacError(
            f"this process has imported {' and '.join(found)}, which a device must never need",
            "this is a defect of slfac or of an add-on: please report it",
        )

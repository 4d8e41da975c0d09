"""Makes a user's own modules importable where a command takes their names."""

from __future__ import annotations

import sys
from pathlib import Path


def import_from_here() -> None:
    """Let modules of the current folder be imported, behind all that is installed."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)

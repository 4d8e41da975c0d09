"""What one check of ``slfac doctor`` found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_MOST = 65536
Level = Literal["ok", "warning", "failed", "unknown"]


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        level: ``ok``; ``warning``: it works, but may trouble you; ``failed``: slfac cannot
            work so; ``unknown``: it could not be found out, and nothing is claimed.
        name: What was looked at.
        found: What was found.
        remedy: What to do about it; empty where nothing has to be done.
    """

    level: Level
    name: str
    found: str
    remedy: str = ""


def read_text(path: Path) -> str | None:
    """A short file of the kernel's, stripped of white space and NULs; None if it cannot be read.

    Args:
        path: Where it is.
    """
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(_MOST).strip("\0 \t\n")
    except OSError:
        return None


def exists(path: Path) -> bool:
    """Whether something is there, a broken link included.

    Args:
        path: The place.

    Raises:
        OSError: It may not be looked at.
    """
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True

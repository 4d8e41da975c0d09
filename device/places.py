"""Where a device keeps things."""

from __future__ import annotations

from pathlib import Path


def default_cache() -> Path:
    """Where bundles fetched from a server are kept: ``~/.cache/slfac/bundles``."""
    return Path.home() / ".cache" / "slfac" / "bundles"


def default_journal() -> Path:
    """Where devices take down what they are: ``~/.cache/slfac/journal``."""
    return Path.home() / ".cache" / "slfac" / "journal"


def image_cache() -> Path:
    """Where bases of images are kept: ``~/.cache/slfac/image``."""
    return Path.home() / ".cache" / "slfac" / "image"

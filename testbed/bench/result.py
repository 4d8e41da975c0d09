"""A bench's result file: its figures, with all that made them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Protocol

import msgspec
from rich.console import Console

from slfac.testbed.collect import machine, versions
from slfac.testbed.write import replace_file


def now() -> str:
    """The present as result files have it: UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


class Kept(Protocol):
    """What the settings of every bench say of its result file."""

    @property
    def json(self) -> Path | None:
        """The file; None for none."""

    @property
    def command(self) -> str:
        """The command line, for that file."""


def write_measurements(
    settings: Kept,
    measurements: Sequence[Any],
    *,
    date: str,
    facts: Mapping[str, Any],
    console: Console,
) -> None:
    """Write a result file, and say so; machine and versions are added.

    Args:
        settings: Those of the bench.
        measurements: The figures: structs, or JSON values.
        date: When measuring was begun.
        facts: What was measured, as JSON values.
        console: Where to say it.

    Raises:
        RunError: The file cannot be written.
    """
    if settings.json is None:
        return
    result = {
        "command": settings.command,
        "date": date,
        "machine": machine(),
        "versions": versions(),
        **facts,
        "measurements": msgspec.to_builtins(list(measurements)),
    }
    replace_file(settings.json, json.dumps(result, indent=1).encode() + b"\n")
    console.print(f"results: {settings.json}", highlight=False, soft_wrap=True)

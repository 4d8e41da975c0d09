"""A bench's result file: its figures, with all that made them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rich.console import Console

from slfac.testbed.collect import machine, versions
from slfac.testbed.write import replace_file


def now() -> str:
    """The present as result files have it: UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def write_measurements(
    file: Path | None,
    measurements: Sequence[Mapping[str, Any]],
    *,
    command: str,
    date: str,
    facts: Mapping[str, Any],
    console: Console,
) -> None:
    """Write a result file, and say so; machine and versions are added.

    Args:
        file: The file; None for none.
        measurements: The figures, as JSON values.
        command: The command line that made them.
        date: When that was begun.
        facts: What was measured, as JSON values.
        console: Where to say it.

    Raises:
        RunError: The file cannot be written.
    """
    if file is None:
        return
    result = {
        "command": command,
        "date": date,
        "machine": machine(),
        "versions": versions(),
        **facts,
        "measurements": list(measurements),
    }
    replace_file(file, json.dumps(result, indent=1).encode() + b"\n")
    console.print(f"results: {file}", highlight=False, soft_wrap=True)

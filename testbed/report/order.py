"""A report of the runs in some folders, as ``slfac report`` asks for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from slfac.testbed.report.folders import read_runs
from slfac.testbed.report.write import Comparison, write_runs
from slfac.wire.errors import SettingsError


def write_order(
    console: Console,
    *,
    folders: Sequence[Path],
    out: Path = Path("report.html"),
    target: float | None = None,
    title: str = "",
    command: str = "",
) -> None:
    """Read runs and write their report.

    Args:
        console: Where to print tables, paths and what was passed over.
        folders: Of runs, of experiments, or folders with such in them.
        out: The page; the same as Markdown is written beside it.
        target: Accuracy in per cent; how soon it was reached is shown.
        title: Heading of the page.
        command: The command line.

    Raises:
        SettingsError: A setting is wrong, or no folder holds a run.
        RunError: A file cannot be written.
    """
    if out.suffix not in (".html", ".htm"):
        raise SettingsError(f"setting out is {str(out)!r}", "give a name that ends in .html")
    if target is not None and not (math.isfinite(target) and 0 < target <= 100):
        raise SettingsError(f"setting target is {target:g}", "give per cent, such as 85")
    found = read_runs(folders)
    problems = tuple(f"left out: {line}" for line in found.left_out)
    comparison = Comparison(
        runs=found.runs, title=title, target=target, problems=problems, command=command
    )
    write_runs(comparison, out, console)

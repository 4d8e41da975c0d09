"""Writes the report of a run whose files are here."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from slfac.testbed.report.order import write_order


def write_run_report(out: Path, console: Console) -> None:
    """Write the report of a run, finished or not, and print its tables.

    Args:
        out: Folder of the results.
        console: Where to print.

    Raises:
        SettingsError: No run begins there.
        RunError: The report cannot be written.
    """
    write_order(console, folders=[out], out=out / "report.html", command=f"slfac report {out}")

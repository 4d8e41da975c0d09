"""Writes the report of a run whose files are here."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console

from slfac.testbed.collect import collect
from slfac.testbed.hosts.collect import METRICS_NAME
from slfac.testbed.report import print_tables, write_report
from slfac.wire.errors import RunError


def write_run_report(out: Path, console: Console) -> None:
    """Write the report of a run, and print its tables.

    Args:
        out: Folder of the results.
        console: Where to print.

    Raises:
        RunError: The run did not finish.
    """
    try:
        lines = (out / METRICS_NAME).read_text("utf-8").splitlines()
        events = [json.loads(line) for line in lines]
    except (OSError, ValueError) as error:
        raise RunError(f"{out / METRICS_NAME} cannot be read: {error}") from error
    report, points = collect(events, dataset=str(events[0]["settings"].get("data")))
    print_tables([write_report(report, points, out)], console)
    console.print(f"report: {out / 'report.html'}", highlight=False, soft_wrap=True)

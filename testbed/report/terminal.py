"""The report in the terminal."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from slfac.testbed.report.model import RunReport, labels_of
from slfac.testbed.report.rows import device_table, phase_table, run_table

_PLAIN_WIDTH = 120


def print_tables(runs: Sequence[RunReport], console: Console) -> None:
    """Print one table of the runs, then two of each run's devices.

    Args:
        runs: The runs.
        console: Where to print.
    """
    console.print(terminal_table("Runs", *run_table(runs)))
    for label, run in zip(labels_of(list(runs)), runs, strict=True):
        console.print(terminal_table(f"Devices, {label}", *device_table(run.per_device)))
        console.print(
            terminal_table(f"Seconds in each phase, {label}", *phase_table(run.per_device))
        )


def text_table(runs: Sequence[RunReport]) -> str:
    """The same tables as plain text, for logs and files.

    Args:
        runs: The runs.
    """
    buffer = io.StringIO()
    print_tables(runs, Console(file=buffer, width=_PLAIN_WIDTH, color_system=None))
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"


def terminal_table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    left: int = 1,
    fold: int | None = None,
) -> Table:
    """A table for the terminal.

    Args:
        title: Its heading, as text; empty for none.
        columns: The columns' headings, as text.
        rows: Cells of each row, as text.
        left: How many columns stand to the left; numbers stand to the right.
        fold: How many columns may be folded where there is no room; None for all.
    """
    # Collapsed padding lets the widest table fit into 80 columns.
    table = Table(
        title=escape(title),
        box=SIMPLE_HEAD,
        title_justify="left",
        title_style="bold",
        collapse_padding=True,
        pad_edge=False,
    )
    for index, column in enumerate(columns):
        whole = fold is not None and index >= fold
        table.add_column(
            escape(column),
            justify="left" if index < left else "right",
            # Of a number that has no room, nobody shall take the rest for all of it.
            overflow="ellipsis" if whole else "fold",
            no_wrap=whole,
        )
    for row in rows:
        table.add_row(*map(escape, row))
    return table

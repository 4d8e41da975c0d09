"""The experiments that come with slfac, as a table."""

from __future__ import annotations

from rich.console import Console

from slfac.testbed.experiment.plan import read_experiment, shipped
from slfac.testbed.report.terminal import terminal_table


def list_experiments(console: Console) -> None:
    """Print the experiments that come with slfac.

    Args:
        console: Where to print.
    """
    rows = []
    for name in shipped():
        experiment = read_experiment(name)
        rows.append([name, str(len(experiment.runs)), experiment.title])
    console.print(terminal_table("slfac experiment run NAME", ["name", "runs", "what"], rows))

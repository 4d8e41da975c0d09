"""``slfac report``: a page of plots and tables from folders of runs."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

from slfac.cli.parsers import add_command, given

_EPILOG = """\
examples:
  slfac report runs/a
  slfac report runs/a runs/b --out compared.html --target 90
  slfac report runs/experiments/links

DIR is what `slfac server --out`, `slfac demo --out` or an experiment wrote, or a folder with such
in it. Runs that have not come to their end are shown as far as they are (docs/report.md).
"""


def add_parser(subparsers: Any) -> None:
    """Register the subcommand.

    Args:
        subparsers: The main parser's subparsers.
    """
    add = add_command(
        subparsers,
        "report",
        summary="write a page of plots and tables from folders of runs",
        epilog=_EPILOG,
        run=run,
    ).add_argument
    add("folders", nargs="+", type=Path, metavar="DIR", help="folders of runs")
    add(
        "--out",
        type=Path,
        metavar="FILE",
        help="page, with .md and .svg beside it (report.html)",
    )
    add("--target", type=float, metavar="PERCENT", help="report how soon each run got there")
    add("--title", metavar="TEXT", help="heading of the page")


def run(args: argparse.Namespace) -> int:
    """Run the subcommand.

    Args:
        args: The parsed command line.

    Returns:
        The exit code.

    Raises:
        SettingsError: A setting is wrong, or no folder holds a run.
        RunError: The page cannot be written.
    """
    from rich.console import Console

    from slfac.testbed.report.order import write_order

    command = "slfac " + shlex.join(sys.argv[1:])
    write_order(Console(), command=command, **given(args))
    return 0

"""``slfac experiment run`` and ``list``: a matrix of runs from a file."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Any

from slfac.cli.parsers import add_command, given

_RUN_EPILOG = """\
examples:
  slfac experiment run smoke
  slfac experiment run links --dry-run
  slfac experiment run mine.toml --jobs 2 --result mine.json
  slfac experiment run paper --data ham10000=/data/ham10000 --simulate --set torch_device=cuda

EXPERIMENT is a TOML file, or the name of one that comes with slfac (`slfac experiment list`).
Finished runs in --out are reused: stop with Ctrl-C, and go on with the same command. What a file
holds: docs/experiments.md.
"""
_LIST_EPILOG = """\
example:
  slfac experiment list
"""


def add_parsers(actions: Any) -> None:
    """Register both actions.

    Args:
        actions: The subparsers of ``slfac experiment``.
    """
    add_command(
        actions,
        "list",
        summary="list the experiments that come with slfac",
        epilog=_LIST_EPILOG,
        run=_list,
    )
    parser = add_command(
        actions,
        "run",
        summary="carry out a matrix of codecs, modes, partitions, links and seeds from a file",
        epilog=_RUN_EPILOG,
        run=_run,
    )
    add = parser.add_argument
    add("name", metavar="EXPERIMENT", help="TOML file, or name of one that comes with slfac")
    add("--dry-run", action="store_true", help="only say which runs there are, and which are left")
    add("--out", type=Path, metavar="DIR", help="where everything goes (runs/experiments)")
    where = parser.add_mutually_exclusive_group().add_argument
    where("--emulate", action="store_true", help="give each device a host and a link of its own")
    where(
        "--simulate",
        action="store_true",
        help="simulate the devices of a run in one process, on a GPU where there is one",
    )
    add("--jobs", type=int, metavar="N", help="runs at a time (1)")
    add(
        "--data",
        type=_named_folder,
        dest="folders",
        action="append",
        metavar="NAME=DIR",
        help="where a data set of the experiment is",
    )
    add(
        "--set",
        type=_setting,
        dest="changes",
        action="append",
        metavar="NAME=VALUE",
        help="a setting that all runs get, such as rounds=2",
    )
    add("--result", type=Path, metavar="FILE", help="also write all to FILE.json, .html, .md, .svg")


def _run(args: argparse.Namespace) -> int:
    from rich.console import Console

    from slfac.testbed.experiment.run import Order, run_experiment, show_experiment

    values = given(args)
    del values["action"]
    only_show = values.pop("dry_run", False)
    for name in ("folders", "changes"):
        values[name] = dict(values.get(name, ()))
    if values.pop("emulate", False):
        from slfac.testbed.experiment.emulated import Emulated

        values["backend"] = Emulated()
    if values.pop("simulate", False):
        from slfac.testbed.simulate.backend import Simulated

        values["backend"] = Simulated()
    order = Order(**values, command="slfac " + shlex.join(sys.argv[1:]))
    (show_experiment if only_show else run_experiment)(order, Console())
    return 0


def _list(args: argparse.Namespace) -> int:  # noqa: ARG001 - as every command's
    from rich.console import Console

    from slfac.testbed.experiment.listing import list_experiments

    list_experiments(Console())
    return 0


def _named_folder(text: str) -> tuple[str, Path]:
    name, sign, path = text.partition("=")
    if not (name and sign and path):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=DIR, such as mnist=/data/mnist")
    return name, Path(path)


def _setting(text: str) -> tuple[str, Any]:
    """``NAME=VALUE``, the value as JSON has it; what is no JSON is a text."""
    name, sign, value = text.partition("=")
    if not (name and sign):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE, such as rounds=2")
    try:
        return name, json.loads(value)
    except (ValueError, RecursionError):
        return name, value

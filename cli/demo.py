"""``slfac demo``: train several local devices on real images, and report."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

from slfac.cli.parsers import add_command, given, integers, split_specs

_EPILOG = """\
examples:
  slfac demo
  slfac demo --page
  slfac demo --compare none,fp16,slfac
  slfac demo --data /usr/share/datasets/fashion-mnist --devices 5 --partition dirichlet:beta=0.5
"""


def add_parser(subparsers: Any) -> None:
    """Register the subcommand.

    Args:
        subparsers: The main parser's subparsers.
    """
    parser = add_command(
        subparsers,
        "demo",
        summary="train local devices on real images, and report",
        epilog=_EPILOG,
        run=run,
    )
    add = parser.add_argument
    add("--out", type=Path, metavar="DIR", help="where everything goes (runs/demo)")
    add("--data", type=Path, metavar="DIR", help="IDX folder (fetches 5000 MNIST images)")
    add("--devices", type=int, metavar="N", help="device processes (3)")
    add("--rounds", type=int, metavar="N", help="rounds to train (10)")
    codecs = parser.add_mutually_exclusive_group()
    codecs.add_argument("--codec", metavar="SPEC", help="codec both ways (slfac)")
    codecs.add_argument("--compare", metavar="A,B", help="run these codecs one after another")
    add("--seed", metavar="N[,N]", dest="seeds", type=integers, help="seed, or several (0)")
    add("--model", metavar="NAME", help="model of slfac.export.models (cnn)")
    add("--cut", metavar="NODE", help="its cut layer (pool1)")
    add("--steps-per-round", type=int, metavar="N", help="0: one pass over a device's data (0)")
    add("--batch-size", type=int, metavar="N", help="samples a device puts into a step (32)")
    add("--optimizer", metavar="SPEC", help="of both halves (sgd:lr=0.05,momentum=0.9)")
    add("--partition", metavar="SPEC", help="how data is shared out (iid)")
    add(
        "--page",
        nargs="?",
        const="8080",
        metavar="[HOST:]PORT",
        help="show the runs on a web page, until Ctrl-C (no; 127.0.0.1:8080)",
    )
    add("--energy", action="store_true", help="let devices measure where their joules go")
    add("--result", type=Path, metavar="FILE", help="also write all figures to a JSON file")


def run(args: argparse.Namespace) -> int:
    """Run the subcommand.

    Args:
        args: The parsed command line.

    Returns:
        The exit code.
    """
    from rich.console import Console

    from slfac.testbed.demo import DemoSettings, run_demo

    values = given(args)
    if "compare" in values:
        values["codecs"] = split_specs(values.pop("compare"))
    elif "codec" in values:
        values["codecs"] = (values.pop("codec"),)
    command = "slfac " + shlex.join(sys.argv[1:])
    run_demo(DemoSettings(**values, command=command), Console())
    return 0

"""``slfac simulate``: a whole run in one process, with its devices in torch."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from slfac.cli.imports import import_from_here
from slfac.cli.parsers import add_command, given
from slfac.cli.threads import limit_threads
from slfac.server.options import add_best, add_codecs, add_place, add_training, names

_EPILOG = """\
examples:
  slfac simulate --bundle bundle --data mnist --devices 5 --out runs/a
  slfac simulate --bundle bundle --data mnist --devices 100 --partition dirichlet:beta=0.5 \\
      --mode sfl-v2 --codec slfac-rd --batch-size 128 --torch-device cuda
  slfac simulate --resume runs/a

Losses, scores and bytes are those of a run with real devices and sockets; seconds, joules and
links are not simulated. docs/simulate.md says how it agrees with them, and what it leaves out.
"""


def add_parser(subparsers: Any) -> None:
    """Register the subcommand.

    Args:
        subparsers: The main parser's subparsers.
    """
    parser = add_command(
        subparsers,
        "simulate",
        summary="train a run whose devices are simulated in this process",
        epilog=_EPILOG,
        run=run,
    )
    add = parser.add_argument
    add("--bundle", metavar="DIR", help="bundle to train")
    add("--out", metavar="DIR", help="where metrics and checkpoints go (runs/simulated)")
    add("--resume", metavar="DIR", help="go on with the simulated run in DIR, with its settings")
    add("--devices", type=int, metavar="N", help="how many devices (5)")
    add("--data", type=Path, metavar="PATH", help="data set with a train and a test split")
    add(
        "--device-data",
        type=_paths,
        metavar="A,B",
        help="a data set for each device, for --partition own; the last one serves all others",
    )
    _add_training(parser)
    add_codecs(parser.add_argument_group("what crosses the network").add_argument)
    machine = parser.add_argument_group("this machine")
    add_place(machine.add_argument, where="where everything is computed", made="models")


def _add_training(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("training").add_argument
    add_training(add)
    add("--partition", metavar="SPEC", help="how data is shared out (iid)")
    add("--seed", type=int, metavar="N", help="seed of everything random (0)")
    add_best(add)


def run(args: argparse.Namespace) -> int:
    """Run the subcommand.

    Args:
        args: The parsed command line.

    Returns:
        The exit code.

    Raises:
        SlfacError: A branch of it.
    """
    # Torch has threads of its own; the codec's products are too small for several.
    limit_threads(blas=1)
    import_from_here()
    from rich.console import Console

    from slfac.testbed.simulate.command import run_simulation

    run_simulation(given(args), Console())
    return 0


def _paths(text: str) -> tuple[Path, ...]:
    return tuple(map(Path, names(text)))

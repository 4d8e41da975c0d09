"""``slfac simulate``: a whole run in one process, with its devices in torch."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from slfac.cli.imports import import_from_here
from slfac.cli.parsers import add_command, given
from slfac.cli.threads import limit_threads

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
    _add_codecs(parser)
    _add_place(parser)


def _add_training(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("training").add_argument
    add("--mode", metavar="SPEC", help="way of split learning (what the bundle was made for)")
    add("--rounds", type=int, metavar="N", help="rounds to train (10)")
    add("--steps-per-round", type=int, metavar="N", help="0: one pass over a device's data (0)")
    add("--batch-size", type=int, metavar="N", help="samples a device puts into a step (32)")
    add("--optimizer", metavar="SPEC", help="of the back half (sgd:lr=0.05,momentum=0.9)")
    add("--device-optimizer", metavar="SPEC", help="of the devices (the same)")
    add("--schedule", metavar="SPEC", help="of the learning rates of both halves (constant)")
    add("--partition", metavar="SPEC", help="how data is shared out (iid)")
    add("--seed", type=int, metavar="N", help="seed of everything random (0)")
    add(
        "--best-by",
        choices=("auto", "balanced_accuracy", "accuracy", "loss"),
        help="score that chooses checkpoint/best (auto: balanced accuracy, or loss)",
    )
    add("--early-stop", metavar="SPEC", help="end without gain: patience=3,min_delta=0.001 (no)")


def _add_codecs(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("what crosses the network").add_argument
    add("--codec", metavar="SPEC", help="codec both ways (slfac)")
    add("--codec-up", metavar="SPEC", help="codec of the smashed data")
    add("--codec-down", metavar="SPEC", help="codec of the gradients")
    add("--micro-batches", type=int, metavar="N", help="compute and send in N parts, 0: auto (1)")
    add("--stream-blocks", type=int, metavar="N", help="encode and send in N parts (1)")


def _add_place(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("this machine").add_argument
    add(
        "--torch-device",
        choices=("auto", "cpu", "cuda"),
        help="where everything is computed (auto: CUDA where torch finds it)",
    )
    add(
        "--precision",
        choices=("float32", "bf16", "auto"),
        help="of the back half; auto: bf16 on a GPU whose hardware has it (float32)",
    )
    add("--threads", type=int, metavar="N", help="threads of torch (0: torch decides)")
    add(
        "--allow-factories",
        metavar="A,B",
        type=_names,
        help="factories (MODULE or MODULE:NAME) that may build models (slfac's own)",
    )
    add("--page", metavar="[HOST:]PORT", help="show the run on a web page (no; 127.0.0.1)")
    add("--prometheus", metavar="[HOST:]PORT", help="metrics for Prometheus (no; 127.0.0.1)")
    add(
        "--tensorboard",
        action=argparse.BooleanOptionalAction,
        help="write files for TensorBoard to OUT/tensorboard (no)",
    )


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


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.split(",") if name)


def _paths(text: str) -> tuple[Path, ...]:
    return tuple(map(Path, _names(text)))

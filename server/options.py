"""The server's options, for ``slfac server`` and ``-m slfac.server``.

Nothing heavy is imported here, so that help needs nothing but Python.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

Add = Callable[..., Any]
EPILOG = """\
examples:
  slfac keys new server --dir keys
  slfac keys enroll pi-1 pi-1/device.key --dir keys
  slfac server --bundle bundle --keys keys --data mnist --out runs/a --rounds 10
  slfac server --resume runs/a
  slfac server --config server.toml --out runs/b

Codecs: none, fp16, slfac:theta=0.9,bmin=2,bmax=8. Optimisers: sgd:lr=0.05,momentum=0.9,
adam:lr=0.001, adamw:lr=0.001, each with clip_norm=1 or clip_value=0.1. Schedules: constant,
linear:final=0, cosine:warmup=2,final=0.01, step:every=10,factor=0.1 (docs/guide.md).
Modes: parallel, sfl-v1, sfl-v2, relay, async:staleness=4, u-shaped (docs/modes.md).
Partitions: own, iid, dirichlet:beta=0.5 (docs/data.md).

A file for --config holds the same settings, with _ for - (docs/server.toml). What is given
here goes before it. The bundle and the folder for results must be given in either place.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Give a parser the server's options.

    Args:
        parser: Leaves out of its namespace what is not given.
    """
    add = parser.add_argument
    add("--config", type=Path, metavar="FILE", help="a TOML file of settings")
    add("--bundle", metavar="DIR", help="bundle to train")
    add("--out", metavar="DIR", help="where metrics and checkpoints go")
    add("--resume", metavar="DIR", help="go on with the run in DIR, with its settings")
    add("--bind", metavar="ADDRESS", help="tcp://HOST:PORT to listen on (tcp://0.0.0.0:5555)")
    add(
        "--announce",
        action=argparse.BooleanOptionalAction,
        help="make it known on its network, for devices with --discover",
    )
    add("--keys", metavar="DIR", help="the server's key folder")
    add(
        "--insecure",
        action=argparse.BooleanOptionalAction,
        help="work without keys, on loopback only",
    )
    add("--devices", metavar="A,B", type=names, help="devices of the run (all enrolled)")
    add("--min-devices", type=int, metavar="N", help="start with N once the wait is over (all)")
    add("--join-timeout-s", type=float, metavar="S", help="how long to wait for devices (for ever)")
    add_training(add)
    add_codecs(add)
    add("--partition", metavar="SPEC", help="how data is shared out (own)")
    add("--seed", type=int, metavar="N", help="seed of everything random (0)")
    _add_evaluation(parser)
    add("--grace-s", type=float, metavar="S", help="how long a lost device may stay away (60)")
    add("--idle-timeout-s", type=float, metavar="S", help="give up without devices after (600)")
    add("--step-timeout-s", type=float, metavar="S", help="go on without a silent device (600)")
    add("--step-deadline-s", type=float, metavar="S", help="make steps without the late (never)")
    add_place(add, where="where the back half is", made="back halves")
    _add_scale_out(parser)


def _add_scale_out(parser: argparse.ArgumentParser) -> None:
    """Register what only a server under torchrun is told."""
    add = parser.add_argument
    add("--advertise", metavar="HOST", help="under torchrun: this machine, for devices (of --bind)")
    add("--shards", metavar="A,B", type=_counts, help="under torchrun: devices of each rank (even)")


def _add_evaluation(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--data", metavar="PATH", help="data set with a test split, to evaluate each round")
    add(
        "--evaluate",
        action=argparse.BooleanOptionalAction,
        help="in mode u-shaped, let devices evaluate each round on their test splits (yes)",
    )
    add_best(add)


def add_training(add: Add) -> None:
    """Register how a run trains, which a simulation is told as well.

    Args:
        add: Adds an option to a parser or to a group of one.
    """
    add("--mode", metavar="SPEC", help="way of split learning (what the bundle was made for)")
    add("--rounds", type=int, metavar="N", help="rounds to train (10)")
    add("--steps-per-round", type=int, metavar="N", help="0: one pass over a device's data (0)")
    add("--batch-size", type=int, metavar="N", help="samples a device puts into a step (32)")
    add("--optimizer", metavar="SPEC", help="of the back half (sgd:lr=0.05,momentum=0.9)")
    add("--device-optimizer", metavar="SPEC", help="of the devices (the same)")
    add("--schedule", metavar="SPEC", help="of the learning rates of both halves (constant)")


def add_codecs(add: Add) -> None:
    """Register what crosses the network.

    Args:
        add: As for :func:`add_training`.
    """
    add("--codec", metavar="SPEC", help="codec both ways (slfac)")
    add("--codec-up", metavar="SPEC", help="codec of the smashed data")
    add("--codec-down", metavar="SPEC", help="codec of the gradients")
    add("--micro-batches", type=int, metavar="N", help="compute and send in N parts, 0: auto (1)")
    add("--stream-blocks", type=int, metavar="N", help="encode and send in N parts (1)")


def add_best(add: Add) -> None:
    """Register which round is the best, and when a run ends early.

    Args:
        add: As for :func:`add_training`.
    """
    add(
        "--best-by",
        choices=("auto", "balanced_accuracy", "accuracy", "loss"),
        help="score that chooses checkpoint/best (auto: balanced accuracy, or loss)",
    )
    add("--early-stop", metavar="SPEC", help="end without gain: patience=3,min_delta=0.001 (no)")


def add_place(add: Add, *, where: str, made: str) -> None:
    """Register where torch computes, what may be imported, and who may look on.

    Args:
        add: As for :func:`add_training`.
        where: What is computed there, for help.
        made: What factories build, for help.
    """
    add(
        "--torch-device",
        choices=("auto", "cpu", "cuda"),
        help=f"{where} (auto: CUDA where torch finds it)",
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
        type=names,
        help=f"factories (MODULE or MODULE:NAME) that may build {made} (slfac's own)",
    )
    add("--page", metavar="[HOST:]PORT", help="show the run on a web page (no; 127.0.0.1)")
    add("--prometheus", metavar="[HOST:]PORT", help="metrics for Prometheus (no; 127.0.0.1)")
    add(
        "--tensorboard",
        action=argparse.BooleanOptionalAction,
        help="write files for TensorBoard to OUT/tensorboard (no)",
    )


def names(text: str) -> tuple[str, ...]:
    """Names with commas between them.

    Args:
        text: Such as ``pi-1,pi-2``.
    """
    return tuple(name for name in text.split(",") if name)


def _counts(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(count) for count in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no numbers such as 3,1") from None

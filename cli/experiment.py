"""``slfac experiment``: many training runs, and what they say about codecs, modes and links."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

from slfac.cli import experiment_run, finetune
from slfac.cli.parsers import add_command, given, integers, json_value, split_specs

_EPILOG = """\
examples:
  slfac experiment list
  slfac experiment run smoke
  slfac experiment run paper.toml --jobs 2
  slfac experiment rate --codec none,fp16,slfac --seed 0,1,2
  slfac experiment finetune --data /usr/share/datasets/fashion-mnist
"""
_RATE_EPILOG = """\
examples:
  slfac experiment rate --codec none,fp16,slfac:theta=0.9,slfac:theta=0.8 --seed 0,1,2
  slfac experiment rate --codec slfac@fp16,fp16@slfac --seed 0 --split test
  slfac experiment rate --plan testbed/plans/rate.toml --result rate.json
  slfac experiment rate --codec none,slfac --link 5Mbit --target 85 \\
      --rounds 16 --steps-per-round 40

A codec is SPEC for both directions, or UP@DOWN. Settings are chosen on --split validation,
images held out of the training set; --split test scores on the test set. Finished runs in
--out are reused: stop with Ctrl-C, and go on with the same command (docs/experiments.md).
"""


def add_parser(subparsers: Any) -> None:
    """Register the subcommand.

    Args:
        subparsers: The main parser's subparsers.
    """
    parser = add_command(
        subparsers,
        "experiment",
        summary="compare codecs, modes, partitions and links over many training runs",
        epilog=_EPILOG,
        run=run,
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    experiment_run.add_parsers(actions)
    finetune.add_parser(actions)
    _add_rate(actions)


def _add_rate(actions: Any) -> None:
    """Register the action that sets accuracy against bytes."""
    rate = add_command(
        actions,
        "rate",
        summary="accuracy against bytes for codecs and seeds, through real processes and sockets",
        epilog=_RATE_EPILOG,
        run=run,
    )
    add = rate.add_argument
    add("--plan", type=Path, metavar="FILE", help="TOML file of settings, which options override")
    add("--out", type=Path, metavar="DIR", help="where everything goes (runs/experiments)")
    add("--result", type=Path, metavar="FILE", help="also write all to FILE.json, .md, .svg")
    add("--jobs", type=int, metavar="N", help="runs at a time (1)")
    add("--best-within", type=float, metavar="PP", help="loss to accept, in points (1.0)")
    add("--target", type=float, metavar="PERCENT", help="report how soon each codec gets there")

    add = rate.add_argument_group("what to compare").add_argument
    add(
        "--codec",
        metavar="SPEC[,SPEC]",
        dest="codecs",
        action="append",
        type=split_specs,
        help="codecs, each SPEC or UP@DOWN (none,fp16,slfac)",
    )
    add("--best-of", type=Path, metavar="FILE", help="also the best of a validation result")
    add("--seed", metavar="N[,N]", dest="seeds", type=integers, help="seeds (0,1,2)")

    add = rate.add_argument_group("data").add_argument
    add("--data", type=Path, metavar="DIR", help="IDX folder (Debian's Fashion-MNIST)")
    add("--split", choices=("validation", "test"), help="what to score on (validation)")
    add("--train-samples", type=int, metavar="N", help="images to train on (10000)")
    add("--held-out", type=int, metavar="N", help="images of the validation split (10000)")

    add = rate.add_argument_group("training").add_argument
    add("--model", metavar="NAME", help="model of slfac.export.models (a cnn; needs --cut)")
    add("--kwargs", type=json_value, metavar="JSON", help="more arguments of the model")
    add("--cut", metavar="NODE", help="its cut layer (pool2: 32x14x14)")
    add("--devices", type=int, metavar="N", help="device processes of a run (2)")
    add("--partition", metavar="SPEC", help="how data is shared out (iid)")
    add("--rounds", "--epochs", type=int, metavar="N", help="rounds to train (4)")
    add("--steps-per-round", type=int, metavar="N", help="0: one pass over a device's data (0)")
    add("--batch-size", type=int, metavar="N", help="samples a device puts into a step (32)")
    add("--torch-device", choices=("auto", "cpu", "cuda"), help="where the back half is (auto)")
    add("--optimizer", metavar="SPEC", help="of both halves (sgd:lr=0.02,momentum=0.9)")
    add(
        "--link",
        metavar="RATE[,RATE]",
        type=_names,
        help="hold devices to 5Mbit, or 1Mbit/10Mbit up and down; one rate, or one a device",
    )


def run(args: argparse.Namespace) -> int:
    """Run the subcommand.

    Args:
        args: The parsed command line.

    Returns:
        The exit code.

    Raises:
        SettingsError: A setting is wrong.
        RunError: A run failed.
    """
    from rich.console import Console

    from slfac.testbed.rate import rate_plan, run_rate

    values = given(args)
    del values["action"]
    if "codecs" in values:
        values["codecs"] = tuple(spec for specs in values["codecs"] for spec in specs)
    plan = rate_plan(values.pop("plan", None), **values)
    run_rate(plan, Console(), "slfac " + shlex.join(sys.argv[1:]))
    return 0


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))

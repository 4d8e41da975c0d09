"""``slfac experiment finetune``: published models, fine-tuned by boards' processes and a server."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

from slfac.cli.parsers import add_command, given, integers

_EPILOG = """\
examples:
  slfac experiment finetune
  slfac experiment finetune --data /usr/share/datasets/fashion-mnist --seed 0,1,2
  slfac experiment finetune --case text --rounds 2 --result text.json

efficientnet: EfficientNet-Lite0 with ImageNet's weights, and from scratch, on grey images at
3x64x64; its first three stages run on the devices. text: a classifier that exists only as an
ONNX file, on words drawn at 0 and 180 degrees. Both are fetched once (17 and 15 MB).
"""


def add_parser(subparsers: Any) -> None:
    """Register the subcommand.

    Args:
        subparsers: Those of ``slfac experiment``.
    """
    parser = add_command(
        subparsers,
        "finetune",
        summary="fine-tune published models through real processes and sockets",
        epilog=_EPILOG,
        run=run,
    )
    add = parser.add_argument
    add("--case", choices=("efficientnet", "text"), help="which model and images (efficientnet)")
    add("--data", type=Path, metavar="DIR", help="IDX folder of grey images (MNIST digits)")
    add("--out", type=Path, metavar="DIR", help="where everything goes (runs/finetune)")
    add("--result", type=Path, metavar="FILE", help="also write all figures as JSON")
    add("--seed", metavar="N[,N]", dest="seeds", type=integers, help="seeds (0)")
    add("--devices", type=int, metavar="N", help="device processes of a run (2)")
    add("--rounds", type=int, metavar="N", help="rounds, each one pass over the images (3)")
    add("--batch-size", type=int, metavar="N", help="samples a device puts into a step (32)")
    add("--optimizer", metavar="SPEC", help="of both halves (sgd:lr=0.01,momentum=0.9)")
    add("--codec", metavar="SPEC", help="codec of both directions (slfac)")
    add("--train", type=int, metavar="N", help="images to train on (4000)")
    add("--test", type=int, metavar="N", help="images to test on (1000)")


def run(args: argparse.Namespace) -> int:
    """Run the subcommand.

    Args:
        args: The parsed command line.

    Returns:
        The exit code.

    Raises:
        SettingsError: A setting is wrong.
        DataError: A model or images cannot be fetched or read.
        ExportError: A model cannot be exported.
        RunError: A run failed.
    """
    from rich.console import Console

    from slfac.testbed.finetune.run import FinetuneSettings, run_finetune

    values = given(args)
    del values["action"]
    command = "slfac " + shlex.join(sys.argv[1:])
    run_finetune(FinetuneSettings(**values, command=command), Console())
    return 0

"""Parses the command line, runs a subcommand, and turns errors into lines and exit codes."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import traceback
from collections.abc import Sequence

from slfac import __version__
from slfac.cli import (
    bench,
    demo,
    device,
    doctor,
    experiment,
    export,
    image,
    keys,
    plan,
    profile,
    report,
    server,
    simulate,
    testbed,
    update,
)
from slfac.wire.ending import explain, flush_output, terminate

# Extras that are not named like the command that needs them.
_EXTRAS = dict.fromkeys(("demo", "bench", "experiment", "plan", "report", "simulate"), "testbed")
_EXTRAS |= dict.fromkeys(("keys", "profile"), "device")
_EPILOG = """\
examples:
  slfac demo                              train three local devices on MNIST digits
  slfac export --model cnn --cut pool1 --input 1x28x28 --classes 10 --out bundle
  slfac server --bundle bundle --keys keys --data mnist --out runs/a
  slfac device --server tcp://10.0.0.5:5555 --keys keys --data mnist
  slfac doctor --keys keys                say what is wrong with a machine, and what to do
  slfac profile sensors                   what measures this board's power, and what would
  slfac profile run --out board.toml      let this board measure its own speed and power
  slfac profile show pi-4b                what is known about a board, and where it comes from
  slfac image flash slfac-rpi.img.zst     list the drives that an image can be written to
  slfac update --list                     the versions of slfac on this board
  slfac plan --model cnn --input 1x28x28 --classes 10 --board pi-4b --link wifi-20 --data 5000
  slfac bench codec                       measure the codecs on tensors of real training
  slfac experiment run smoke              many runs from a file, and a report of them
  slfac experiment rate --codec none,slfac --seed 0,1,2
  slfac simulate --bundle bundle --data mnist --devices 100
  slfac report runs/a runs/b              a page of plots and tables that compares runs
  slfac testbed check lab.yaml            look over an inventory of boards

exit codes: docs/exit-codes.md
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``slfac``.

    Args:
        arguments: The command line without the program's name; None takes the process's.

    Returns:
        The exit code.
    """
    try:
        args = _parser().parse_args(arguments)
    finally:
        flush_output()  # argparse ends the process once it has printed help or a version
    logging.basicConfig(
        level=logging.DEBUG if args.debug else logging.WARNING,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
    )
    previous = signal.signal(signal.SIGTERM, terminate)
    try:
        code: int = args.run(args)
        sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001 - one place turns any of them into a line
        if args.debug:
            traceback.print_exc()
        extra = _EXTRAS.get(args.command, args.command)
        return explain(f"slfac {args.command}", error, extra=extra)
    else:
        return code
    finally:
        signal.signal(signal.SIGTERM, previous)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="slfac",
        description="Split learning that trains on small boards.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"slfac {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in (
        demo,
        export,
        server,
        device,
        keys,
        doctor,
        profile,
        plan,
        image,
        update,
        bench,
        experiment,
        simulate,
        report,
        testbed,
    ):
        command.add_parser(subparsers)
    for subparser in subparsers.choices.values():
        _add_debug(subparser)
    parser.set_defaults(debug=False)
    return parser


def _add_debug(parser: argparse.ArgumentParser) -> None:
    """Let `--debug` stand behind a command, and behind an action of it."""
    parser.add_argument(
        "--debug",
        action="store_true",
        # What stands before an action is not taken back by what does not stand behind it.
        default=argparse.SUPPRESS,
        help="log everything, show tracebacks",
    )
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for nested in action.choices.values():
                _add_debug(nested)

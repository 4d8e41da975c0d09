"""``slfac doctor``: look at this machine, its keys and its server, and say what is wrong."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from slfac.cli.findings import show_findings
from slfac.cli.parsers import add_command, given

_EPILOG = """\
examples:
  slfac doctor
  slfac doctor --keys keys --server tcp://10.0.0.5:5555
  slfac doctor --keys keys --out runs --json

The second looks at a device and its link, the third at a server. A device in training is not
disturbed. The exit code is 1 if a check failed, else 0. Each line: docs/doctor.md.
"""


def add_parser(subparsers: Any) -> None:
    """Register the subcommand.

    Args:
        subparsers: The main parser's subparsers.
    """
    parser = add_command(
        subparsers,
        "doctor",
        summary="look at this machine, its keys and its server",
        epilog=_EPILOG,
        run=run,
    )
    add = parser.add_argument
    add("--keys", type=Path, metavar="DIR", help="key folder of a device or a server")
    add("--server", metavar="ADDRESS", help="tcp://HOST:PORT of a server to try with that key")
    add("--discover", action="store_true", help="look for the server on this network")
    add("--cache", type=Path, metavar="DIR", help="where the device keeps fetched bundles")
    add("--out", type=Path, metavar="DIR", help="where the server writes results")
    add("--json", action="store_true", help="print one JSON object in the end")


def run(args: argparse.Namespace) -> int:
    """Run the subcommand.

    Args:
        args: The parsed command line.

    Returns:
        The exit code.
    """
    from slfac.device.doctor import examine

    values = given(args)
    as_json = values.pop("json", False)
    return show_findings(examine(**values), as_json=as_json)

"""``slfac doctor``: look at this machine, its keys and its server, and say what is wrong."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from slfac import __version__
from slfac.cli.parsers import add_command, given

_EPILOG = """\
examples:
  slfac doctor
  slfac doctor --keys keys --server tcp://10.0.0.5:5555
  slfac doctor --keys keys --out runs --json

The second looks at a device and its link, the third at a server. A device in training is not
disturbed. The exit code is 1 if a check failed, else 0. Each line: docs/doctor.md.
"""
_LEVELS = ("ok", "warning", "failed", "unknown")
_LABEL_WIDTH = 13


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
    findings = []
    for finding in examine(**values):
        findings.append(finding)
        if not as_json:
            _print(f"{finding.level:<8} {finding.name:<{_LABEL_WIDTH}} {finding.found}")
            if finding.remedy:
                _print(f"{'':{_LABEL_WIDTH + 9}} -> {finding.remedy}")
    count: Counter[str] = Counter(finding.level for finding in findings)
    if as_json:
        counts = {level: count[level] for level in _LEVELS}
        listed = [dataclasses.asdict(finding) for finding in findings]
        print(json.dumps({"slfac": __version__, "counts": counts, "findings": listed}, indent=2))
    else:
        _print(", ".join(f"{count[level]} {level}" for level in _LEVELS))
    return 1 if count["failed"] else 0


def _print(line: str) -> None:
    """Print a line at once, whatever bytes a file's name is made of."""
    encoding = sys.stdout.encoding or "utf-8"
    one = " ".join(line.splitlines())
    print(one.encode(encoding, "backslashreplace").decode(encoding), flush=True)

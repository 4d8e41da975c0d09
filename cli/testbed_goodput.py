"""``slfac testbed goodput``: how much of an emulated link slfac's transport uses."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

from slfac.cli.parsers import add_command, given
from slfac.cli.tables import aligned

_EPILOG = """\
examples:
  slfac testbed goodput
  slfac testbed goodput --mbits 100 --delay-ms 5 --repeat 5
  slfac testbed goodput --json links.json

Measures TCP by iperf3 (two sockets of Python's where it is not installed) and slfac's encrypted
messages one after the other over the same emulated link, up and down. It needs root. With the
default settings it takes eight minutes.
"""


def add_goodput(actions: Any) -> None:
    """Register the action.

    Args:
        actions: The subparsers of ``slfac testbed``.
    """
    add = add_command(
        actions,
        "goodput",
        summary="how much of an emulated link slfac's transport uses, beside iperf3",
        epilog=_EPILOG,
        run=_goodput,
    ).add_argument
    add("--mbits", type=_numbers, metavar="N[,N]", help="rates, 10**6 bits a second (5,20,100)")
    add("--delay-ms", type=float, metavar="MS", help="delay one way (20)")
    add("--loss", type=float, metavar="SHARE", help="of packets, such as 0.01 (0)")
    add("--repeat", type=int, metavar="N", help="how often; the median counts (3)")
    add("--seconds", type=float, metavar="S", help="how long each is measured (10)")
    add("--warm-up-s", type=float, metavar="S", help="how long each waits before that (2)")
    add("--shaper", choices=("auto", "tap", "kernel"), help="what shapes links (auto)")
    add("--congestion", metavar="NAME", help="TCP's congestion control (cubic if possible)")
    add("--json", type=Path, metavar="FILE", help="also write all figures to FILE")


def _goodput(args: argparse.Namespace) -> int:
    from slfac.testbed.goodput.measure import GoodputSettings, measure_goodput

    values = given(args)
    del values["action"]
    settings = GoodputSettings(**values, command="slfac " + shlex.join(sys.argv[1:]))

    def show(done: int, total: int, text: str) -> None:
        each_s = settings.seconds + settings.warm_up_s
        left_s = (total - done) * (each_s + 1)
        line = f"{done} of {total}, {left_s // 60:.0f}:{left_s % 60:02.0f} left: {text}"
        print(line, file=sys.stderr, flush=True)

    rows = [("link", "way", "TCP", "slfac", "share")]
    for found in measure_goodput(settings, show):
        rates = (f"{found.plain_mbits:.2f} Mbit/s", f"{found.slfac_mbits:.2f} Mbit/s")
        rows.append((f"{found.mbits:g} Mbit/s", found.direction, *rates, f"{found.share:.1%}"))
    for line in aligned(rows):
        print(line)
    return 0


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(piece) for piece in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not numbers with commas between them, such as 5,20"
        ) from None

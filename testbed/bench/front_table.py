"""The figures of fronts as a table in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from slfac.testbed.report.terminal import terminal_table

if TYPE_CHECKING:
    from slfac.testbed.bench.front import FrontMeasurement

_COLUMNS = (
    "front",
    "way",
    "forward\nms",
    "backward\nms",
    "update\nms",
    "step\nms",
    "/ torch",
    "held\nMB",
    "peak\nMB",
)
_MEGA = 1e6


def print_fronts(found: Sequence[FrontMeasurement], console: Console) -> None:
    """Print one row a front and way.

    Args:
        found: The figures, front by front.
        console: Where to print.
    """
    rows, before = [], ""
    for m in found:
        cells = (
            m.front if m.front != before else "",
            m.way,
            f"{m.forward_ms:.2f}",
            f"{m.backward_ms:.2f}",
            f"{m.update_ms:.2f}",
            f"{m.step_ms:.2f}",
            f"{m.ratio:.2f}",
            "-" if m.held_bytes is None else f"{m.held_bytes / _MEGA:.1f}",
            f"{m.peak_rss_bytes / _MEGA:.0f}",
        )
        rows.append(cells)
        before = m.front
    console.print(terminal_table("", _COLUMNS, rows, left=2, fold=0))

"""The figures of steps in parts as a table in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from slfac.testbed.report.terminal import terminal_table

if TYPE_CHECKING:
    from slfac.testbed.bench.overlap import OverlapMeasurement

_COLUMNS = (
    "link",
    "parts",
    "front",
    "up",
    "server",
    "down",
    "waits",
    "step",
    "formula",
    "ratio",
    "gain",
)


def print_overlap(found: Sequence[OverlapMeasurement], console: Console) -> None:
    """Print a table a codec, with one row a run; times are in ms.

    Args:
        found: The figures.
        console: Where to print.
    """
    for codec in dict.fromkeys(m.codec for m in found):
        rows, before = [], ""
        for m in (m for m in found if m.codec == codec):
            rows.append(["" if m.link == before else m.link, *_cells(m)])
            before = m.link
        console.print(terminal_table(f"codec {codec}, ms", _COLUMNS, rows, left=2, fold=0))


def _cells(m: OverlapMeasurement) -> list[str]:
    times = (m.front_ms, m.up_ms, m.server_ms, m.down_ms, m.wait_ms, m.step_ms)
    in_blocks = m.stream_blocks > 1
    parts = f"{m.stream_blocks} blocks" if in_blocks else str(m.micro_batches)
    # The formula is that of micro-batches.
    bound = ("-", "-") if in_blocks else (f"{m.bound_ms:.0f}", f"{m.ratio:.2f}")
    return [parts, *(f"{ms:.0f}" for ms in times), *bound, f"{m.gain:.2f}"]

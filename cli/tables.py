"""Prints lines and tables, whatever is in them and wherever they go."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence


def print_line(line: str) -> None:
    """Print a line, whatever bytes a file's name is made of.

    Args:
        line: The line; breaks in it become spaces.
    """
    encoding = sys.stdout.encoding or "utf-8"
    print(" ".join(line.splitlines()).encode(encoding, "backslashreplace").decode(encoding))


def aligned(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Lines of a table with columns below one another.

    Args:
        rows: Its cells, as many in each row.

    Yields:
        A line a row.
    """
    cells = [tuple(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()

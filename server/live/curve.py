"""A curve that takes any number of points and keeps few."""

from __future__ import annotations

from collections.abc import Iterable

Row = tuple[float | None, ...]


class Curve:
    """Points in columns; when there are too many, neighbours become their mean.

    Args:
        columns: What a point has, such as ``step`` and ``loss``.
        most: Highest number of points kept, even.
    """

    def __init__(self, *columns: str, most: int = 400) -> None:
        self._columns = columns
        self._most = most
        self._rows: list[Row] = []
        # Points that a kept one stands for, and the sums of the next one.
        self._each = 1
        self._open = _Mean(len(columns))

    def add(self, *values: float | None) -> None:
        """Add a point.

        Args:
            *values: A number for each column, or None where there is none.
        """
        self._open.add(values)
        if self._open.points < self._each:
            return
        self._rows.append(self._open.row())
        self._open = _Mean(len(self._columns))
        if len(self._rows) >= self._most:
            pairs = zip(self._rows[::2], self._rows[1::2], strict=True)
            self._rows = [_mean(pair, len(self._columns)) for pair in pairs]
            self._each *= 2

    def columns(self) -> dict[str, list[float | None]]:
        """The points by column, the newest, which may stand for fewer, included."""
        rows = self._rows + ([self._open.row()] if self._open.points else [])
        return {name: [row[index] for row in rows] for index, name in enumerate(self._columns)}


class _Mean:
    def __init__(self, width: int) -> None:
        self.points = 0
        self._sums = [0.0] * width
        self._counts = [0] * width

    def add(self, values: Iterable[float | None]) -> None:
        self.points += 1
        for index, value in enumerate(values):
            if value is not None:
                self._sums[index] += value
                self._counts[index] += 1

    def row(self) -> Row:
        pairs = zip(self._sums, self._counts, strict=True)
        return tuple(total / count if count else None for total, count in pairs)


def _mean(rows: Iterable[Row], width: int) -> Row:
    mean = _Mean(width)
    for row in rows:
        mean.add(row)
    return mean.row()

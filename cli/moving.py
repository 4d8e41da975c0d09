"""A line that tells how far something with many bytes has come, how fast, and how long it takes."""

from __future__ import annotations

import sys
import time
from types import TracebackType

_EVERY_S = 0.2
# A log wants few lines, a terminal one that moves.
_SHARE = 10


class Moving:
    """Shows progress on standard error; a context manager that ends the line.

    Args:
        label: What is being done.
    """

    def __init__(self, label: str) -> None:
        self._label = label
        self._terminal = sys.stderr.isatty()
        self._began_s = time.monotonic()
        self._shown_s = 0.0
        self._shares = 0
        self._open = False

    def __enter__(self) -> Moving:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._finish()

    def to(self, done: int, total: int) -> None:
        """Show how far it is.

        Args:
            done: Bytes that are done.
            total: Bytes of the whole; 0 where that is not known.
        """
        now_s = time.monotonic()
        if self._terminal:
            if now_s - self._shown_s >= _EVERY_S or done == total:
                self._shown_s = now_s
                # Erases what an earlier, longer line has left.
                print(f"\r{self._text(done, total)}\x1b[K", end="", file=sys.stderr, flush=True)
                self._open = True
        elif total and done * _SHARE // total > self._shares:
            self._shares = done * _SHARE // total
            print(self._text(done, total), file=sys.stderr, flush=True)

    def stage(self, label: str, done: int, total: int) -> None:
        """Show how far a stage is; another one begins a line of its own.

        Args:
            label: What is being done.
            done: Bytes that are done.
            total: Bytes of the whole.
        """
        if label != self._label:
            self._finish()
            self._label = label
            self._began_s, self._shown_s, self._shares = time.monotonic(), 0.0, 0
        self.to(done, total)

    def _finish(self) -> None:
        if self._open:
            print(file=sys.stderr, flush=True)
            self._open = False

    def _text(self, done: int, total: int) -> str:
        rate = done / max(time.monotonic() - self._began_s, 1e-3)
        if not total:
            return f"{self._label}: {done / 1e6:.0f} MB, {rate / 1e6:.1f} MB/s"
        left_s = (total - done) / rate if rate else 0.0
        return (
            f"{self._label}: {done / total:4.0%} of {total / 1e6:.0f} MB, "
            f"{rate / 1e6:.1f} MB/s, {left_s // 60:.0f}:{left_s % 60:02.0f} left"
        )

"""Work that training does not wait for."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")
_LOWEST_PRIORITY = 19


class Background(Generic[T, R]):
    """Does one piece of work at a time, in a thread of the lowest priority.

    Args:
        work: What is done with each piece; it raises nothing.

    Attributes:
        spent_s: How long that took in all.
    """

    def __init__(self, work: Callable[[T], R]) -> None:
        self.spent_s = 0.0
        self._work = work
        self._thread: threading.Thread | None = None
        self._done: list[R] = []

    @property
    def busy(self) -> bool:
        """Whether a piece is being worked on."""
        return self._thread is not None and self._thread.is_alive()

    def begin(self, piece: T) -> None:
        """Begin with a piece; wait for the one before.

        Args:
            piece: It.
        """
        self.wait()
        self._thread = threading.Thread(
            target=self._run, args=(piece,), name="energy-phases", daemon=True
        )
        self._thread.start()

    def wait(self) -> None:
        """Wait until nothing is worked on."""
        if self._thread is not None:
            self._thread.join()

    def results(self) -> list[R]:
        """What has come out since the last time."""
        done, self._done = self._done, []
        return done

    def _run(self, piece: T) -> None:
        # On Linux a thread has a priority of its own.
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST_PRIORITY)
        begin_s = time.perf_counter()
        found = self._work(piece)
        # Not in one line: results() puts another list in the place of this one meanwhile.
        self._done.append(found)
        self.spent_s += time.perf_counter() - begin_s

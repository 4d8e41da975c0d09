"""Times the phases of a step."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from slfac.wire.messages import Timings


class Stopwatch:
    """Collects the milliseconds of one step's phases; the step begins when it is made."""

    def __init__(self) -> None:
        self._began_s = time.perf_counter()
        self._ms: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a block as part of a phase.

        Args:
            name: The phase, as in :class:`~slfac.wire.messages.Timings` without ``_ms``.
        """
        start_s = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, (time.perf_counter() - start_s) * 1e3)

    def add(self, name: str, milliseconds: float) -> None:
        """Add time that was measured elsewhere.

        Args:
            name: The phase.
            milliseconds: How long.
        """
        self._ms[name] = self._ms.get(name, 0.0) + milliseconds

    def timings(self) -> Timings:
        """The phases so far, and the time since the step began."""
        step_ms = (time.perf_counter() - self._began_s) * 1e3
        return Timings(**{f"{name}_ms": value for name, value in self._ms.items()}, step_ms=step_ms)

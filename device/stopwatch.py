"""Times the phases of a step, and stamps them where someone measures energy."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from slfac.device.asking import Exchanged
from slfac.wire.messages import Timings


class Meter(Protocol):
    """Takes down when phases ran; see :class:`slfac.device.energy.PhaseMeter`."""

    def record(self, name: str, begin_ns: int, end_ns: int) -> None:
        """Take down that a phase ran, on the monotonic clock."""


class Stopwatch:
    """Collects the milliseconds of one step's phases; the step begins when it is made.

    Args:
        meter: Also told when they ran; None where nobody measures.
    """

    def __init__(self, meter: Meter | None = None) -> None:
        self._began_ns = time.monotonic_ns()
        self._ms: dict[str, float] = {}
        self._meter = meter

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a block as part of a phase.

        Args:
            name: The phase, as in :class:`~slfac.wire.messages.Timings` without ``_ms``.
        """
        begin_ns = time.monotonic_ns()
        try:
            yield
        finally:
            end_ns = time.monotonic_ns()
            self._add(name, (end_ns - begin_ns) * 1e-6)
            if self._meter is not None:
                self._meter.record(name, begin_ns, end_ns)

    def exchange(self, exchanged: Exchanged) -> None:
        """Take in what a request took.

        Parts of a step may be sent while others are computed. Only what holds this device up
        counts as its time; the meter is told all of it.

        Args:
            exchanged: The request.
        """
        self._add("send", exchanged.send_ms)
        self._add("wait", exchanged.wait_ms)
        if self._meter is not None:
            self._meter.record("send", *exchanged.sending_ns)
            self._meter.record("wait", *exchanged.waiting_ns)
            for span in exchanged.without_link_ns:
                self._meter.record("idle", *span)

    def timings(self) -> Timings:
        """End the step: its phases, and the time since it began."""
        end_ns = time.monotonic_ns()
        if self._meter is not None:
            self._meter.record("step", self._began_ns, end_ns)
        step_ms = (end_ns - self._began_ns) * 1e-6
        return Timings(**{f"{name}_ms": value for name, value in self._ms.items()}, step_ms=step_ms)

    def _add(self, name: str, milliseconds: float) -> None:
        self._ms[name] = self._ms.get(name, 0.0) + milliseconds

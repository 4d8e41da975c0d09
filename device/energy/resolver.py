"""Tells phases apart while a run goes on, without holding it up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from slfac.device.energy.attribution import attribute
from slfac.device.energy.background import Background
from slfac.device.energy.means import Means
from slfac.device.energy.pool import Pool, Segment
from slfac.device.energy.results import Attribution, Dropped

_TOO_LATE = "came faster than they could be looked at"


@dataclass(frozen=True)
class _Failed:
    """A part about which nothing can be told."""

    steps: int
    why: str


class Resolver:
    """Looks at a run part by part: 10 minutes, or 8192 readings.

    Args:
        on_status: Told what people should know.

    Attributes:
        means: What was found so far.
    """

    def __init__(self, on_status: Callable[[str], None]) -> None:
        self.means = Means()
        self._on_status = on_status
        self._pool = Pool()
        self._looking: Background[Segment, Attribution | _Failed] = Background(_look)
        self._failed: list[Dropped] = []

    @property
    def spent_s(self) -> float:
        """How long looking took."""
        return self._looking.spent_s

    def add(self, segment: Segment) -> None:
        """Take in what came since the last time; begin to look if that makes a whole part.

        Args:
            segment: It.
        """
        self._pool.add(segment)
        self._take_in()
        if self._pool.full and not self._looking.busy:
            self._begin()

    def finish(self) -> None:
        """Look at what is left, and wait for it."""
        self._begin()
        self._looking.wait()
        self._take_in()

    def dropped(self) -> tuple[Dropped, ...]:
        """What was left out."""
        late = self._pool.dropped_steps
        return (
            *self.means.dropped(),
            *self._failed,
            *(Dropped("steps", late, _TOO_LATE),) * bool(late),
        )

    def _begin(self) -> None:
        part = self._pool.take()
        if part is not None and len(part.timeline.steps):
            self._looking.begin(part)

    def _take_in(self) -> None:
        for found in self._looking.results():
            if isinstance(found, Attribution):
                self.means.add(found)
            else:
                self._failed.append(Dropped("steps", found.steps, found.why))
                self._on_status(f"phases of {found.steps} steps cannot be told: {found.why}")


def _look(part: Segment) -> Attribution | _Failed:
    try:
        return attribute(part.timeline, part.trace, throttled=part.throttled)
    except (ArithmeticError, ValueError, np.linalg.LinAlgError) as error:
        # Training must not end over a figure.
        return _Failed(len(part.timeline.steps), f"{type(error).__name__}: {error}")

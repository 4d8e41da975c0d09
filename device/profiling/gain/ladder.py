"""A ladder of loads that a board climbs in random order."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from slfac.wire.errors import SettingsError

_LEAST_REPETITIONS: Final = 5
_MOST_RUNGS: Final = 6
# Of a meter, in what is looked at of a step; windows at its ends do not count.
_LEAST_READINGS: Final = 5


@dataclass(frozen=True)
class Load:
    """Something to do.

    Attributes:
        kind: ``idle``; ``compute``, products of matrices that fit into a cache; or ``copy``, of
            memory that does not.
        cores: How many cores do it.
    """

    kind: Literal["idle", "compute", "copy"]
    cores: int

    def __str__(self) -> str:
        """Such as ``compute on 2 cores``."""
        if self.kind == "idle":
            return "idle"
        return f"{self.kind} on {self.cores} core{'s' if self.cores > 1 else ''}"


@dataclass(frozen=True)
class Ladder:
    """What is done, and for how long.

    Attributes:
        loads: Each is done as often as the others.
        repetitions: How often, at least five.
        step_s: How long each time.
        settle_s: What of that is not looked at: until clocks have risen and averages have passed.
        seed: Of the order; each repetition has its own.
    """

    loads: tuple[Load, ...]
    repetitions: int = _LEAST_REPETITIONS
    step_s: float = 8.0
    settle_s: float = 2.0
    seed: int = 0

    @staticmethod
    def loads_of(cores: int) -> tuple[Load, ...]:
        """Idleness, computing on one core and on more up to all, and copying on all.

        Args:
            cores: Cores there are.
        """
        counts = np.unique(np.round(np.linspace(1, cores, min(cores, _MOST_RUNGS))).astype(int))
        computing = (Load("compute", int(count)) for count in counts)
        return (Load("idle", 0), *computing, Load("copy", cores))

    @property
    def seconds(self) -> float:
        """How long it takes."""
        return len(self.loads) * self.repetitions * self.step_s

    def check(self, meter_hz: float | None) -> None:
        """Refuse what cannot be measured.

        Args:
            meter_hz: How often the slower of the two has something new; None where unknown.

        Raises:
            SettingsError: A setting is out of range, or a step too short.
        """
        if not _LEAST_REPETITIONS <= self.repetitions <= 1000:
            raise SettingsError(
                f"repetitions is {self.repetitions}",
                f"give {_LEAST_REPETITIONS} to 1000: intervals need them",
            )
        if not 0 <= self.seed < 2**32:
            raise SettingsError(f"seed is {self.seed}", "give 0 to 4294967295")
        if not 0 < self.settle_s < self.step_s <= 600:
            raise SettingsError(
                f"step_s is {self.step_s:g} and settle_s is {self.settle_s:g}",
                "give up to 600 seconds for a step, of which the beginning settles",
            )
        looked_s = self.step_s - self.settle_s
        if meter_hz is not None and looked_s * meter_hz < _LEAST_READINGS:
            least_s = self.settle_s + _LEAST_READINGS / meter_hz
            raise SettingsError(
                f"step_s is {self.step_s:g}, in which a meter that tells {meter_hz:g} times a "
                "second tells too little",
                f"give at least {least_s:.3g}",
            )

    def order(self) -> list[int]:
        """Numbers of the loads, in the order in which they are done."""
        rng = random.Random(self.seed)  # noqa: S311 - an order, no secret
        order: list[int] = []
        for _ in range(self.repetitions):
            order += rng.sample(range(len(self.loads)), len(self.loads))
        return order


@dataclass(frozen=True)
class Rung:
    """A load that was done.

    Attributes:
        load: Number of the load.
        begin_s: On the clock of the sensors' readings.
        end_s: The same.
    """

    load: int
    begin_s: float
    end_s: float


def run_ladder(
    busy: Callable[[Load], AbstractContextManager[object]],
    ladder: Ladder,
    *,
    clock: Callable[[], float],
    wait: Callable[[float], None],
    say: Callable[[str], None],
) -> list[Rung]:
    """Do all loads in their order.

    Args:
        busy: Does a load while it is entered.
        ladder: The loads.
        clock: Seconds of the clock of the sensors' readings.
        wait: Waits for seconds.
        say: Told what is being done.
    """
    order = ladder.order()
    rungs = []
    for number, index in enumerate(order, 1):
        load = ladder.loads[index]
        say(f"step {number} of {len(order)}: {load}")
        with busy(load):
            begin_s = clock()
            wait(ladder.step_s)
            rungs.append(Rung(index, begin_s, clock()))
    return rungs

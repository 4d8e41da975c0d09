"""Carries out runs, several at a time, from one thread."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slfac.testbed.experiment.points import CodecPoint
from slfac.testbed.experiment.record import RateRun, keep, record
from slfac.testbed.local import POLL_S, LocalRun, steps_of_local
from slfac.wire.errors import SlfacError


@dataclass(frozen=True)
class Job:
    """A run to carry out.

    Attributes:
        point: Its codecs.
        local: How to run it.
        settings: All that decides its outcome.
    """

    point: CodecPoint
    local: LocalRun
    settings: dict[str, Any]

    @property
    def folder(self) -> Path:
        """Where it is kept."""
        return self.local.out


@dataclass
class Running:
    """A run under way.

    Attributes:
        job: What it does.
        start_s: When it began, on the monotonic clock.
        part: How much of its training is done, in [0, 1].
    """

    job: Job
    start_s: float = field(default_factory=time.monotonic)
    part: float = 0.0

    def on_event(self, event: dict[str, Any]) -> None:
        """Take note of a metrics event."""
        if event["event"] == "round":
            self.part = (event["round"] + 1) / event["rounds"]


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        job: What it did.
        run: Its figures; None where it failed.
        error: Why it failed; None where it did not.
    """

    job: Job
    run: RateRun | None
    error: SlfacError | None


def execute(
    jobs: Sequence[Job],
    *,
    at_a_time: int,
    on_poll: Callable[[Sequence[Running]], None],
    on_end: Callable[[Outcome], None],
) -> None:
    """Carry out runs; one that fails does not keep the others from going on.

    Whatever ends this early ends the runs' processes; what had finished is kept.

    Args:
        jobs: The runs, in order.
        at_a_time: How many may go on at once.
        on_poll: Called some times a second with the runs under way.
        on_end: Called when a run has ended.
    """
    waiting = list(reversed(jobs))
    steps: dict[int, tuple[Running, Generator[None, None, RateRun]]] = {}
    with contextlib.ExitStack() as stack:
        while waiting or steps:
            while waiting and len(steps) < at_a_time:
                running = Running(waiting.pop())
                generator = _carry_out(running, at_a_time)
                stack.callback(generator.close)
                steps[id(running)] = (running, generator)
            for key, (running, generator) in list(steps.items()):
                outcome = _step(running, generator)
                if outcome is not None:
                    del steps[key]
                    on_end(outcome)
            on_poll([running for running, _ in steps.values()])
            time.sleep(POLL_S)


def _carry_out(running: Running, at_a_time: int) -> Generator[None, None, RateRun]:
    job = running.job
    events = yield from steps_of_local(job.local, running.on_event)
    wall_s = time.monotonic() - running.start_s
    run = record(events, job.point, wall_seconds=wall_s, jobs=at_a_time)
    keep(job.folder, job.settings, run)
    return run


def _step(running: Running, generator: Generator[None, None, RateRun]) -> Outcome | None:
    try:
        next(generator)
    except StopIteration as end:
        return Outcome(running.job, end.value, None)
    except SlfacError as error:
        return Outcome(running.job, None, error)
    return None

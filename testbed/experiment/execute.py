"""Carries out runs, several at a time, from one thread."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

from slfac.testbed.experiment.backend import Backend
from slfac.testbed.experiment.job import Job, about_json
from slfac.testbed.experiment.lock import held
from slfac.testbed.experiment.record import RunRecord, find, keep, record
from slfac.testbed.local import POLL_S
from slfac.testbed.report.folders import ABOUT_NAME
from slfac.testbed.write import replace_file
from slfac.wire.errors import SlfacError


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
        record: Its figures; None where it failed.
        error: Why it failed; None where it did not.
    """

    job: Job
    record: RunRecord | None
    error: SlfacError | None


def execute(
    jobs: Sequence[Job],
    backend: Backend,
    *,
    at_a_time: int,
    on_poll: Callable[[Sequence[Running]], None],
    on_end: Callable[[Outcome], None],
) -> None:
    """Carry out runs; one that fails does not keep the others from going on.

    Whatever ends this early ends the runs, with all that they have started; what had finished
    is kept.

    Args:
        jobs: The runs, in order.
        backend: What carries them out.
        at_a_time: How many may go on at once.
        on_poll: Called some times a second with the runs under way.
        on_end: Called when a run has ended.
    """
    waiting = list(reversed(jobs))
    steps: dict[int, tuple[Running, Generator[None, None, RunRecord]]] = {}
    with contextlib.ExitStack() as stack:
        while waiting or steps:
            while waiting and len(steps) < at_a_time:
                running = Running(waiting.pop())
                generator = _carry_out(running, backend, at_a_time)
                stack.callback(generator.close)
                steps[id(running)] = (running, generator)
            for key, (running, generator) in list(steps.items()):
                outcome = _step(running, generator)
                if outcome is not None:
                    del steps[key]
                    on_end(outcome)
            on_poll([running for running, _ in steps.values()])
            time.sleep(POLL_S)


def _carry_out(
    running: Running, backend: Backend, at_a_time: int
) -> Generator[None, None, RunRecord]:
    job = running.job
    with held(job.folder):
        # Another command may have carried it out since this one looked.
        earlier = find(job.folder, job.decides)
        if earlier is not None:
            return earlier
        replace_file(job.folder / ABOUT_NAME, about_json(job))
        events = yield from backend.steps(job.run, running.on_event)
        wall_s = time.monotonic() - running.start_s
        found = record(events, job.run.settings.point, wall_seconds=wall_s, jobs=at_a_time)
        keep(job.folder, job.decides, found)
        return found


def _step(running: Running, generator: Generator[None, None, RunRecord]) -> Outcome | None:
    try:
        next(generator)
    except StopIteration as end:
        return Outcome(running.job, end.value, None)
    except SlfacError as error:
        return Outcome(running.job, None, error)
    return None

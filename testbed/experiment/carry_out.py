"""Carries out what of an experiment has not been carried out yet, and shows how far it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console

from slfac.testbed.experiment.backend import Backend
from slfac.testbed.experiment.execute import Outcome, execute
from slfac.testbed.experiment.job import Job
from slfac.testbed.experiment.progress import RunsProgress
from slfac.testbed.experiment.record import RunRecord, find
from slfac.wire.errors import RunError


@dataclass(frozen=True)
class Finished:
    """What came of an experiment's runs.

    Attributes:
        runs: Those with figures, and the figures, in order.
        failed: Why others have none, a line each.
        total: How many there are.
    """

    runs: tuple[tuple[Job, RunRecord], ...]
    failed: tuple[str, ...]
    total: int

    def raise_failure(self) -> None:
        """Tell of runs that failed, if there are any.

        Raises:
            RunError: A run failed.
        """
        if self.failed:
            raise RunError(
                f"{len(self.failed)} of {self.total} runs failed, the first: {self.failed[0]}",
                "the same command tries them again, and reuses the others",
            )


def find_all(jobs: Sequence[Job]) -> dict[int, RunRecord]:
    """Runs that earlier experiments have finished.

    Args:
        jobs: The runs.

    Returns:
        Place in ``jobs`` -> the run's figures.
    """
    found = ((index, find(job.folder, job.decides)) for index, job in enumerate(jobs))
    return {index: one for index, one in found if one is not None}


def carry_out(
    jobs: Sequence[Job], backend: Backend, *, at_a_time: int, console: Console
) -> Finished:
    """Carry out runs, and reuse those that were carried out before.

    Args:
        jobs: The runs, in order.
        backend: What carries them out.
        at_a_time: How many may go on at once.
        console: Where to show progress.

    Returns:
        What came of them.
    """
    records = find_all(jobs)
    missing = [job for index, job in enumerate(jobs) if index not in records]
    places = {job.folder: index for index, job in enumerate(jobs)}
    failed: list[str] = []
    with RunsProgress(console, jobs=at_a_time, total=len(jobs)) as progress:
        progress.reuse(list(records.values()))

        def on_end(outcome: Outcome) -> None:
            if outcome.record is not None:
                records[places[outcome.job.folder]] = outcome.record
            else:
                failed.append(f"{outcome.job.label}: {outcome.error}")
            progress.on_end(outcome)

        execute(missing, backend, at_a_time=at_a_time, on_poll=progress.on_poll, on_end=on_end)
    runs = tuple((jobs[index], records[index]) for index in sorted(records))
    return Finished(runs, tuple(failed), len(jobs))

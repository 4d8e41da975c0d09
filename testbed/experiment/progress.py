"""Shows how far an experiment is, and how long it will still take."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from slfac.testbed.experiment.execute import Outcome, Running
from slfac.testbed.experiment.record import RunRecord
from slfac.testbed.report.units import human_bytes, human_seconds


class RunsProgress:
    """A bar of finished runs, and a line for each as it ends.

    Args:
        console: Where to show it.
        jobs: Runs that go on at the same time.
        total: All runs of the experiment.
    """

    def __init__(self, console: Console, *, jobs: int, total: int) -> None:
        self._console = console
        self._jobs = jobs
        self._total = total
        self._ended = 0
        self._seconds: list[float] = []
        self._progress = Progress(
            TextColumn("[bold]runs"),
            BarColumn(),
            TextColumn("{task.fields[state]}"),
            console=console,
            transient=True,
        )
        self._task = self._progress.add_task("runs", total=total, state="")

    def __enter__(self) -> RunsProgress:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def reuse(self, runs: Sequence[RunRecord]) -> None:
        """Count runs of an earlier experiment.

        Args:
            runs: Those that were found.
        """
        if runs:
            self._say(f"{len(runs)} of {self._total} runs are there already")
        self._ended += len(runs)
        self._seconds += [run.wall_seconds for run in runs if run.jobs == self._jobs]
        self.on_poll([])

    def on_end(self, outcome: Outcome) -> None:
        """Count a run that has ended, and say how.

        Args:
            outcome: The run.
        """
        self._ended += 1
        name = outcome.job.label
        head = f"  {self._ended:>{len(str(self._total))}}/{self._total}"
        if outcome.record is None:
            self._say(f"{head}  {name} failed: {outcome.error}")
            return
        run = outcome.record
        self._seconds.append(run.wall_seconds)
        self._say(
            f"{head}  accuracy {run.accuracy:6.2%}  {human_bytes(run.total_bytes):>8}  "
            f"{human_seconds(run.wall_seconds):>12}  {name}"
        )

    def on_poll(self, running: Sequence[Running]) -> None:
        """Move the bar.

        Args:
            running: Runs under way.
        """
        now_s = time.monotonic()
        left_s = seconds_left(
            waiting=self._total - self._ended - len(running),
            running=[(now_s - entry.start_s, entry.part) for entry in running],
            known_s=self._seconds,
            jobs=self._jobs,
        )
        left = f"about {human_seconds(left_s)} left" if left_s is not None else "time left unknown"
        done = self._ended + sum(entry.part for entry in running)
        state = f"{self._ended} done, {self._total - self._ended} left, {left}"
        self._progress.update(self._task, completed=done, state=state)

    def _say(self, line: str) -> None:
        # An error's text may hold brackets, which are no markup.
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)


def seconds_left(
    *,
    waiting: int,
    running: Sequence[tuple[float, float]],
    known_s: Sequence[float],
    jobs: int,
) -> float | None:
    """Guess how long an experiment will still take.

    Args:
        waiting: Runs that have not begun.
        running: For each run under way, for how many seconds, and which part of it is done.
        known_s: How long runs that have ended took.
        jobs: Runs that go on at the same time.

    Returns:
        Seconds; None as long as nothing is known.
    """
    estimates = [*known_s, *(spent_s / part for spent_s, part in running if part > 0)]
    if not estimates:
        return None
    usual_s = statistics.fmean(estimates)
    rest_s = [
        spent_s / part - spent_s if part > 0 else max(usual_s - spent_s, 0.0)
        for spent_s, part in running
    ]
    return max([(waiting * usual_s + sum(rest_s)) / jobs, *rest_s])

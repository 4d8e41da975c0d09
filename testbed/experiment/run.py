"""An experiment from its file to its report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from slfac.testbed.datasets.named import check_folders
from slfac.testbed.experiment.backend import Backend
from slfac.testbed.experiment.carry_out import carry_out, find_all
from slfac.testbed.experiment.job import Job, Workshop
from slfac.testbed.experiment.local import Local
from slfac.testbed.experiment.origin import coming_from
from slfac.testbed.experiment.plan import Experiment, read_experiment
from slfac.testbed.experiment.progress import seconds_left
from slfac.testbed.experiment.result import write_result
from slfac.testbed.experiment.settings import RunSettings
from slfac.testbed.report.terminal import terminal_table
from slfac.testbed.report.units import human_seconds
from slfac.wire.errors import DataError, SettingsError, SlfacError

# Of which no package has a copy.
_ONLY_BY_FOLDER = frozenset({"ham10000"})


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is asked of an experiment.

    Attributes:
        name: Its name, or the path of its file.
        out: Folder of all experiments; finished runs in it are reused.
        jobs: Runs at a time.
        folders: Where the user has data sets, by name.
        changes: Settings that all runs get, whatever the file says.
        backend: What carries the runs out.
        result: ``.json`` file to write all figures to, with tables beside it; None for none.
        command: The command line, for the result.
    """

    name: str
    out: Path = Path("runs/experiments")
    jobs: int = 1
    folders: Mapping[str, Path] = field(default_factory=dict)
    changes: Mapping[str, Any] = field(default_factory=dict)
    backend: Backend = field(default_factory=Local)
    result: Path | None = None
    command: str = ""


def run_experiment(order: Order, console: Console) -> None:
    """Carry out what of an experiment is not there yet, and report on all of it.

    Args:
        order: What is asked.
        console: Where to show it.

    Raises:
        RunError: A run failed; all others have been carried out and reported.
        SlfacError: Another branch of it, which says what failed.
    """
    experiment, wanted, left_out = _read(order)
    _check(order, experiment, wanted)
    _say_what(experiment, left_out, console)
    jobs = list(_prepared(order, experiment, wanted, console))
    finished = carry_out(jobs, order.backend, at_a_time=order.jobs, console=console)
    write_result(
        experiment,
        finished,
        order.out / experiment.name,
        also=order.result,
        left_out=left_out,
        command=order.command,
        console=console,
    )
    finished.raise_failure()


def show_experiment(order: Order, console: Console) -> None:
    """Say which runs an experiment has, which of them are there, and how long the rest takes.

    Models are exported, for a run is found again by its weights; nothing is trained. Where a run
    is refused, all are listed before that is said.

    Args:
        order: What is asked.
        console: Where to show it.

    Raises:
        SlfacError: A branch of it, which says what is wrong.
    """
    experiment, wanted, left_out = _read(order)
    _say_what(experiment, left_out, console)
    jobs: list[Job] = []
    refused: SlfacError | None = None
    try:
        _check(order, experiment, wanted)
        for job in _prepared(order, experiment, wanted, console):
            jobs.append(job)  # noqa: PERF402 - those before a refusal count
    except SlfacError as error:
        refused = error
    records = find_all(jobs)
    states = ["to do"] * len(jobs) + ["unknown"] * (len(wanted) - len(jobs))
    for index, record in records.items():
        states[index] = human_seconds(record.wall_seconds)
    rows = [[experiment.label(run), state] for run, state in zip(wanted, states, strict=True)]
    console.print(terminal_table("Runs", ["run", "finished in"], rows))
    if refused is not None:
        raise refused
    known_s = [record.wall_seconds for record in records.values() if record.jobs == order.jobs]
    rest = len(jobs) - len(records)
    left_s = seconds_left(waiting=rest, running=[], known_s=known_s, jobs=order.jobs)
    guess = "unknown" if left_s is None else f"about {human_seconds(left_s)}, by those that are"
    console.print(f"{len(records)} of {len(jobs)} runs are there; time for the rest: {guess}")


def _read(order: Order) -> tuple[Experiment, list[RunSettings], list[str]]:
    """The experiment, its runs that can be made here, and what is left out."""
    if order.result is not None and order.result.suffix != ".json":
        raise SettingsError(
            f"setting result is {str(order.result)!r}",
            "give a name that ends in .json; .html, .md and .svg go beside it",
        )
    if order.jobs < 1:
        raise SettingsError(f"setting jobs is {order.jobs}", "use at least 1")
    experiment = read_experiment(order.name, order.changes)
    data = frozenset(run.data for run in experiment.runs)
    check_folders(order.folders, data)
    missing = (data & _ONLY_BY_FOLDER) - order.folders.keys()
    wanted = [run for run in experiment.runs if run.data not in missing]
    if not wanted:
        name = min(missing)
        raise DataError(
            f"all runs are of {name}, which cannot be fetched", f"pass --data {name}=DIR"
        )
    left_out = [
        f"left out: {count} runs on {name}, which cannot be fetched; --data {name}=DIR adds them"
        for name, count in Counter(r.data for r in experiment.runs if r.data in missing).items()
    ]
    return experiment, wanted, left_out


def _check(order: Order, experiment: Experiment, wanted: list[RunSettings]) -> None:
    for run in wanted:
        with coming_from(experiment.place(run), run):
            order.backend.check(run)


def _prepared(
    order: Order, experiment: Experiment, wanted: list[RunSettings], console: Console
) -> Iterator[Job]:
    workshop = Workshop(
        out=order.out,
        backend=order.backend,
        jobs=order.jobs,
        folders=order.folders,
        say=lambda line: console.print(line, highlight=False, markup=False, soft_wrap=True),
    )
    for run in wanted:
        with coming_from(experiment.place(run), run):
            job = workshop.make(run, experiment.label(run))
        yield job


def _say_what(experiment: Experiment, left_out: list[str], console: Console) -> None:
    console.print(f"{experiment.name}: {experiment.title}", highlight=False, markup=False)
    if experiment.note:
        console.print(experiment.note, highlight=False, markup=False)
    for line in left_out:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

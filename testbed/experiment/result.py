"""What an experiment leaves: a page, tables of Markdown, and all figures as JSON."""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from slfac.server.revision import source_revision
from slfac.testbed.collect import machine, versions
from slfac.testbed.experiment.carry_out import Finished
from slfac.testbed.experiment.plan import Experiment
from slfac.testbed.experiment.published import PublishedFigure
from slfac.testbed.experiment.settings import RunSettings
from slfac.testbed.report.folders import LIST_NAME, read_run
from slfac.testbed.report.model import Published, RunReport
from slfac.testbed.report.write import Comparison, write_runs
from slfac.testbed.write import replace_file


def write_result(
    experiment: Experiment,
    finished: Finished,
    folder: Path,
    *,
    also: Path | None,
    left_out: Sequence[str],
    command: str,
    console: Console,
) -> None:
    """Write ``report.html``, ``report.md``, ``result.json`` and ``runs.json``; print the tables.

    Args:
        experiment: The experiment.
        finished: What came of its runs.
        folder: Where to write.
        also: ``.json`` file to write the figures to as well, with page and tables beside it.
        left_out: Runs that were left out, a line each.
        command: The command line.
        console: Where to print.

    Raises:
        RunError: A file cannot be written.
    """
    paths = [os.path.relpath(job.folder, folder) for job, _ in finished.runs]
    replace_file(folder / LIST_NAME, json.dumps({"runs": paths}, indent=1).encode() + b"\n")
    failed = [f"failed: {line}" for line in finished.failed]
    text = _json(experiment, finished, command, [*left_out, *failed])
    targets = {folder / "result.json": text, **({also: text} if also is not None else {})}
    for path, data in targets.items():
        replace_file(path, data)
    if not finished.runs:
        return
    comparison = Comparison(
        runs=tuple(
            _with_published(read_run(job.folder), job.run.settings, experiment.published)
            for job, _ in finished.runs
        ),
        title=experiment.title,
        note=experiment.note,
        target=experiment.target,
        problems=(*left_out, *failed),
        command=command,
    )
    pages = [folder / "report.html", *([also.with_suffix(".html")] if also is not None else [])]
    for page in pages:
        write_runs(comparison, page, console if page is pages[0] else None)


def _with_published(
    report: RunReport, settings: RunSettings, figures: Sequence[PublishedFigure]
) -> RunReport:
    known = dict(settings)
    published = tuple(
        Published(label=one.label, round=one.round, accuracy=one.accuracy / 100)
        for one in figures
        if one.fits(known)
    )
    return msgspec.structs.replace(report, published=published)


def _json(
    experiment: Experiment, finished: Finished, command: str, problems: Sequence[str]
) -> bytes:
    """All figures, a line a run."""
    head: dict[str, Any] = {
        "experiment": experiment.name,
        "title": experiment.title,
        "note": experiment.note,
        "target": experiment.target,
        "published": [one.model_dump() for one in experiment.published],
        "command": command,
        "date": dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(),
        "revision": source_revision(),
        "problems": list(problems),
    }
    lines = [f' "{name}": {json.dumps(value)}' for name, value in head.items()]
    runs = [
        json.dumps({"settings": job.about, **msgspec.to_builtins(record)})
        for job, record in finished.runs
    ]
    lines.append(' "runs": [\n  ' + ",\n  ".join(runs) + "\n ]" if runs else ' "runs": []')
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()

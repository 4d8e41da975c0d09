"""Reports of runs that are there already: a page, Markdown beside it, and tables printed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from rich.console import Console

from slfac.testbed.report.compared import group_table, published_table, target_table
from slfac.testbed.report.details import fault_table, link_table, run_facts
from slfac.testbed.report.figures import sections_figure
from slfac.testbed.report.groups import sections_of
from slfac.testbed.report.markdown import markdown_table
from slfac.testbed.report.model import RunReport, labels_of
from slfac.testbed.report.pages import (
    LINKS_NOTE,
    PUBLISHED_NOTE,
    TARGET_NOTE,
    comparison_page,
    run_page,
)
from slfac.testbed.report.rows import BYTES_NOTE, device_table, phase_table
from slfac.testbed.report.terminal import terminal_table
from slfac.testbed.write import replace_file


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Runs to report on.

    Attributes:
        runs: The runs, at least one.
        title: Heading of the report; empty for how many runs there are.
        note: What a reader must know of the figures.
        target: Accuracy in per cent; how soon it was reached is shown.
        problems: What is to be said about runs that are missing, a line each.
        command: The command line that made the report or the runs; empty to say none.
    """

    runs: tuple[RunReport, ...]
    title: str = ""
    note: str = ""
    target: float | None = None
    problems: tuple[str, ...] = ()
    command: str = ""


def write_runs(comparison: Comparison, page: Path, console: Console | None) -> None:
    """Write a page, and beside it the tables as Markdown and a figure for them.

    Args:
        comparison: The runs. A lone one, of no experiment, gets a page of its own kind.
        page: The HTML file; Markdown and a figure have the same name with ``.md`` and ``.svg``.
        console: Where to print tables and paths; None to print nothing.

    Raises:
        RunError: A file cannot be written.
    """
    runs = comparison.runs
    alone = len(runs) == 1 and not comparison.title and comparison.target is None
    text = (
        run_page(runs[0], comparison.problems)
        if alone
        else comparison_page(
            runs,
            title=comparison.title,
            note=comparison.note,
            target=comparison.target,
            problems=comparison.problems,
        )
    )
    replace_file(page, text.encode())
    figure = page.with_suffix(".svg")
    against = ("round", "bytes") if comparison.target is None else ("round", "bytes", "seconds")
    replace_file(figure, sections_figure(runs, against))
    caption = f"Test accuracy by {', by '.join(against[:-1])} and by {against[-1]}"
    replace_file(page.with_suffix(".md"), _markdown(comparison, figure.name, caption).encode())
    if console is not None:
        _print(comparison, console)
        for path in (page, page.with_suffix(".md"), figure):
            console.print(f"written: {path}", highlight=False, markup=False, soft_wrap=True)


def _tables(comparison: Comparison) -> list[tuple[str, tuple[list[str], list[list[str]]]]]:
    found = []
    for section in sections_of(comparison.runs):
        title = section.title or "Runs"
        found.append((title, group_table(section.groups)))
        if comparison.target is not None:
            until = f"{title}, until {comparison.target:g} %"
            found.append((until, target_table(section.groups, comparison.target)))
        published = published_table(section.groups)
        if published[1]:
            found.append((f"{title}, beside what others have published", published))
    columns, _ = fault_table(())
    labels = labels_of(list(comparison.runs))
    rows = [
        [label, *cells]
        for run, label in zip(comparison.runs, labels, strict=True)
        for cells in fault_table(run.faults)[1]
    ]
    if rows:
        found.append(("Faults and recoveries", (["run", *columns], rows)))
    return found


def _print(comparison: Comparison, console: Console) -> None:
    for title, table in _tables(comparison):
        console.print(terminal_table(title, *table))
    for run, label in zip(comparison.runs, labels_of(list(comparison.runs)), strict=True):
        for note in run.notes:
            console.print(f"{label}: {note}", highlight=False, markup=False, soft_wrap=True)
    for line in comparison.problems:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _markdown(comparison: Comparison, figure: str, caption: str) -> str:
    runs, labels = comparison.runs, labels_of(list(comparison.runs))
    first = runs[0]
    parts = [
        f"# {_plain(comparison.title) or f'{len(runs)} runs'}",
        _plain(
            f"{first.model} cut at {first.cut}, {first.dataset}, {first.devices} devices, "
            f"{len(runs)} runs, {first.date}."
        ),
    ]
    parts += [_plain(comparison.note)] if comparison.note else []
    parts += [f"- {_plain(line)}" for line in comparison.problems]
    parts.append(f"![{caption}]({quote(figure)})")
    for title, table in _tables(comparison):
        parts += [f"## {_plain(title)}", markdown_table(*table)]
    if not any(run.faults for run in runs):
        parts += ["## Faults and recoveries", "Nothing went wrong."]
    parts.append(BYTES_NOTE)
    if comparison.target is not None:
        parts.append(TARGET_NOTE)
    if any(run.published for run in runs):
        parts.append(PUBLISHED_NOTE)
    for run, label in zip(runs, labels, strict=True):
        parts += [f"## {_plain(label)}", *(f"- {_plain(note)}" for note in run.notes)]
        parts += [markdown_table(*device_table(run.per_device))]
        parts += [markdown_table(*phase_table(run.per_device)), *_links(run)]
        for one in run.tables:
            parts += [f"### {_plain(one.title)}", markdown_table(one.columns, one.rows)]
        parts += [markdown_table(["of the run", ""], run_facts(run))]
    if comparison.command:
        parts += ["## Made by", f"```sh\n{comparison.command}\n```"]
    return "\n\n".join(parts) + "\n"


def _links(run: RunReport) -> list[str]:
    columns, rows = link_table(run)
    return ["### Use of the links", markdown_table(columns, rows), LINKS_NOTE] if rows else []


def _plain(text: str) -> str:
    """Text in one line, in which nothing is markup of HTML."""
    return " ".join(text.replace("<", "&lt;").split())

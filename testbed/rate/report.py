"""The files and tables of a rate experiment."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
from rich.console import Console

from slfac.testbed.experiment.record import RunRecord
from slfac.testbed.rate.markdown import result_markdown
from slfac.testbed.rate.plan import RatePlan
from slfac.testbed.rate.plot import rate_figure
from slfac.testbed.rate.rows import NOTE, TARGET_NOTE, wire_line
from slfac.testbed.rate.summary import Result, to_target
from slfac.testbed.rate.tables import lead, scored_on, tables
from slfac.testbed.report import page
from slfac.testbed.report.terminal import terminal_table
from slfac.testbed.report.theme import DARK, LIGHT
from slfac.testbed.write import replace_file


def report(plan: RatePlan, result: Result, console: Console) -> None:
    """Print the tables; write ``result.json``, ``pareto.png``, ``pareto.svg``, ``report.html``.

    Where the plan names a file for the result, its figure (``.svg``) and its tables (``.md``) are
    written beside it.

    Args:
        plan: The plan.
        result: Its result.
        console: Where to print.

    Raises:
        RunError: A file cannot be written.
    """
    folder = plan.out / plan.name
    text = result_json(plan, result)
    replace_file(folder / "result.json", text)
    kept = plan.result
    if kept is not None:
        replace_file(kept, text)
    if not result.summary:
        return
    for kind in ("png", "svg"):
        image = rate_figure(result.summary, scored_on=scored_on(plan), kind=kind)
        replace_file(folder / f"pareto.{kind}", image)
    if kept is not None:
        figure = kept.with_suffix(".svg")
        replace_file(figure, image)
        markdown = result_markdown(plan, result, figure=figure.name)
        replace_file(kept.with_suffix(".md"), markdown.encode())
    replace_file(folder / "report.html", _page(plan, result).encode())
    for title, table in tables(plan, result):
        console.print(terminal_table(title, *table))
    console.print(wire_line(result.summary), highlight=False, soft_wrap=True)
    paths: list[Path] = [folder / "report.html", folder / "pareto.png"]
    if kept is not None:
        paths += [kept, kept.with_suffix(".md")]
    for path in paths:
        console.print(f"written: {path}", highlight=False, soft_wrap=True)


def result_json(plan: RatePlan, result: Result) -> bytes:
    """A result as JSON, one line a codec and one a run.

    Args:
        plan: The plan.
        result: Its result.
    """
    baseline = {run.seed: run for run in result.runs if run.codec_up == run.codec_down == "none"}
    values = msgspec.to_builtins(result)
    values["runs"] = [_run(plan, run, baseline.get(run.seed)) for run in result.runs]
    lines = []
    for name, value in values.items():
        if isinstance(value, list) and value:
            items = ",\n  ".join(json.dumps(item) for item in value)
            lines.append(f' "{name}": [\n  {items}\n ]')
        else:
            lines.append(f' "{name}": {json.dumps(value)}')
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def _run(plan: RatePlan, run: RunRecord, baseline: RunRecord | None) -> dict[str, object]:
    values: dict[str, object] = msgspec.to_builtins(run)
    if baseline is not None:
        values["ratio"] = baseline.total_bytes / run.total_bytes
        values["difference_pp"] = 100 * (run.accuracy - baseline.accuracy)
    if plan.target is not None:
        seconds, count = to_target(run, plan.target) or (None, None)
        values["seconds_to_target"], values["bytes_to_target"] = seconds, count
    return values


def _page(plan: RatePlan, result: Result) -> str:
    light, dark = (
        rate_figure(result.summary, scored_on=scored_on(plan), theme=theme)
        for theme in (LIGHT, DARK)
    )
    parts = [page.figures([("Accuracy over bytes, with the Pareto front", light, dark)])]
    for title, table in tables(plan, result):
        parts += [page.heading(title), page.table(*table)]
    parts += [page.note(NOTE), page.note(wire_line(result.summary))]
    if plan.target is not None:
        parts += [page.note(TARGET_NOTE)]
    if result.failed:
        parts += [page.heading("Runs that failed"), *map(page.note, result.failed)]
    shown = {**result.plan, **result.machine, **result.versions, "command": result.command}
    parts += [
        page.heading("Settings"),
        page.facts((name, str(value)) for name, value in shown.items()),
    ]
    return page.page(
        f"Rate experiment: {plan.name}",
        lead(plan, result),
        parts,
    )

"""A rate experiment's result as a page of Markdown, to be kept beside its JSON."""

from __future__ import annotations

from slfac.testbed.rate.plan import RatePlan
from slfac.testbed.rate.rows import NOTE, TARGET_NOTE, wire_line
from slfac.testbed.rate.summary import Result
from slfac.testbed.rate.tables import lead, tables
from slfac.testbed.report.markdown import markdown_table


def result_markdown(plan: RatePlan, result: Result, *, figure: str) -> str:
    """The tables of the report, its figure and what it was made by.

    Args:
        plan: The plan.
        result: Its result, with a summary.
        figure: Where the figure is, relative to the page.

    Returns:
        The page.
    """
    parts = [f"# Rate experiment: {plan.name}", f"{lead(plan, result)}."]
    parts.append(f"![Accuracy over bytes, with the Pareto front]({figure})")
    for title, (columns, rows) in tables(plan, result):
        parts += [f"## {title}", markdown_table(columns, rows)]
    parts += [NOTE, wire_line(result.summary)]
    if plan.target is not None:
        parts.append(TARGET_NOTE)
    if result.failed:
        parts += ["## Runs that failed", "\n".join(f"- {why}" for why in result.failed)]
    made_by = {**result.machine, **result.versions}
    parts += [
        "## Made by",
        f"```sh\n{result.command}\n```",
        ", ".join(f"{name} {value}" for name, value in made_by.items()) + ".",
    ]
    return "\n\n".join(parts) + "\n"

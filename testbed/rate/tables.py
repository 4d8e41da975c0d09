"""Which tables a rate experiment has, and what stands above them."""

from __future__ import annotations

from slfac.testbed.rate.plan import RatePlan
from slfac.testbed.rate.rows import Table, best_table, rate_table, target_table
from slfac.testbed.rate.summary import Result

_SCORED_ON = {"validation": "validation images", "test": "test images"}


def scored_on(plan: RatePlan) -> str:
    """What accuracy was scored on, for people."""
    return _SCORED_ON[plan.split]


def lead(plan: RatePlan, result: Result) -> str:
    """One line about what was trained, how often and when."""
    return (
        f"{plan.model} cut at {plan.cut}, {plan.data.name}, {plan.devices} devices, "
        f"{len(result.runs)} runs, {result.date}"
    )


def tables(plan: RatePlan, result: Result) -> list[tuple[str, Table]]:
    """All tables of a result.

    Args:
        plan: The plan.
        result: Its result, with a summary.

    Returns:
        Title and table of each.
    """
    seeds = ", ".join(map(str, plan.seeds))
    found = [
        (
            f"{plan.model} on {plan.data.name}, {scored_on(plan)}, seeds {seeds}",
            rate_table(result.summary),
        ),
        (
            f"Fewest bytes with a mean loss of at most {plan.best_within:g} pp",
            best_table(result.summary, result.best),
        ),
    ]
    if plan.target is not None:
        at = f" at {', '.join(plan.link)} a device" if plan.link else ""
        found.append(
            (f"Until {plan.target:g} % accuracy{at}", target_table(result.summary, plan.target))
        )
    return found

"""A rate experiment from its plan to its report."""

from __future__ import annotations

from rich.console import Console

from slfac.testbed.experiment.carry_out import carry_out
from slfac.testbed.experiment.job import Workshop
from slfac.testbed.experiment.local import Local
from slfac.testbed.rate.plan import RatePlan
from slfac.testbed.rate.report import report
from slfac.testbed.rate.summary import Result, summarise


def run_rate(plan: RatePlan, console: Console, command: str) -> Result:
    """Run every codec with every seed, reuse what was run before, and report.

    Args:
        plan: What to run.
        console: Where to show it.
        command: The command line, for the result.

    Returns:
        The result.

    Raises:
        RunError: A run failed; all others have been carried out and reported.
        SlfacError: Another branch of it, which says what failed.
    """
    backend = Local()
    workshop = Workshop(
        out=plan.out,
        backend=backend,
        jobs=plan.jobs,
        folders={},
        say=lambda line: console.print(line, highlight=False, soft_wrap=True),
    )
    jobs = [
        workshop.make(settings, f"{settings.codec}, seed {settings.seed}") for settings in plan.runs
    ]
    finished = carry_out(jobs, backend, at_a_time=plan.jobs, console=console)
    result = summarise(
        plan,
        [record for _, record in finished.runs],
        command=command,
        failed=finished.failed,
    )
    report(plan, result, console)
    finished.raise_failure()
    return result

"""The rows of tables that compare groups of runs, the same in HTML, Markdown and the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from slfac.testbed.report.groups import Group, published_of
from slfac.testbed.report.model import RoundPoint, RunReport
from slfac.testbed.report.units import human_bytes, human_ratio, human_seconds, percent

Spread = tuple[float, float | None]


def group_table(groups: Sequence[Group]) -> tuple[list[str], list[list[str]]]:
    """One row a group: means over its runs, with standard deviations.

    Args:
        groups: The groups.

    Returns:
        Headings and rows. Balanced accuracy and energy have columns where some group has them.
    """
    balanced = any(group.over(lambda run: run.balanced_accuracy) for group in groups)
    scopes = dict.fromkeys(s for g in groups for run in g.runs for s in _joules(run))
    columns = [
        *("compared", "accuracy", *["balanced"] * balanced),
        *("up", "down", "smaller than float32", "time"),
        *(f"energy, {scope}" for scope in scopes),
        "seeds",
    ]
    return columns, [_group_row(group, balanced, list(scopes)) for group in groups]


def _group_row(group: Group, balanced: bool, scopes: Sequence[str]) -> list[str]:
    runs = group.runs
    return [
        group.label,
        _percents(group.over(lambda run: run.accuracy)),
        *[_percents(group.over(lambda run: run.balanced_accuracy))] * balanced,
        _mean(group.over(lambda run: run.bytes_up), human_bytes),
        _mean(group.over(lambda run: run.bytes_down), human_bytes),
        human_ratio(
            sum(run.bytes_up + run.bytes_down for run in runs),
            sum(run.float32_bytes_up + run.float32_bytes_down for run in runs),
        ),
        _mean(group.over(lambda run: run.seconds), human_seconds),
        *(_mean(_energy(group, scope), "{:.4g} J".format) for scope in scopes),
        ", ".join(str(run.seed) for run in runs),
    ]


def target_table(groups: Sequence[Group], target: float) -> tuple[list[str], list[list[str]]]:
    """One row a group: how soon its runs scored a target accuracy.

    Args:
        groups: The groups.
        target: The accuracy, in per cent.

    Returns:
        Headings and rows. A dash stands where not every run of a group got there.
    """
    return (
        ["compared", f"reached {target:g} %", "rounds", "time", "bytes"],
        [_target_row(group, target) for group in groups],
    )


def _target_row(group: Group, target: float) -> list[str]:
    def when(value: Callable[[RoundPoint], float]) -> Spread | None:
        def of(run: RunReport) -> float | None:
            point = to_target(run, target)
            return None if point is None else value(point)

        return group.over(of)

    count = sum(to_target(run, target) is not None for run in group.runs)
    return [
        group.label,
        f"{count} of {len(group.runs)}",
        _mean(when(lambda point: point.round), "{:.3g}".format),
        _mean(when(lambda point: point.seconds), human_seconds),
        _mean(when(lambda point: point.bytes_up + point.bytes_down), human_bytes),
    ]


def to_target(run: RunReport, target: float) -> RoundPoint | None:
    """The end of the first round that scored at least a target.

    Args:
        run: The run.
        target: The accuracy, in per cent.
    """
    reached = (p for p in run.by_round if p.accuracy is not None and 100 * p.accuracy >= target)
    return next(reached, None)


def published_table(groups: Sequence[Group]) -> tuple[list[str], list[list[str]]]:
    """One row a figure that others have published, with what was reached here as soon.

    Args:
        groups: The groups beside which it is shown.

    Returns:
        Headings and rows; a dash where a group has not as many rounds.
    """
    columns = ["published by others", "round", "accuracy", *(group.label for group in groups)]
    return columns, [
        [
            one.label,
            str(one.round),
            f"{100 * one.accuracy:.4g} %",
            *(_percents(group.over(_after(one.round))) for group in groups),
        ]
        for one in published_of(groups)
    ]


def _after(rounds: int) -> Callable[[RunReport], float | None]:
    def accuracy(run: RunReport) -> float | None:
        return next((point.accuracy for point in run.by_round if point.round == rounds), None)

    return accuracy


def _joules(run: RunReport) -> dict[str, float]:
    return run.by_round[-1].joules if run.by_round else {}


def _energy(group: Group, scope: str) -> Spread | None:
    return group.over(lambda run: _joules(run).get(scope))


def _percents(value: Spread | None) -> str:
    if value is None:
        return "-"
    mean, std = value
    return percent(mean) if std is None else f"{100 * mean:.1f} ± {100 * std:.1f} %"


def _mean(value: Spread | None, shown: Callable[[float], str]) -> str:
    if value is None:
        return "-"
    mean, std = value
    return shown(mean) if std is None or not mean else f"{shown(mean)} ± {100 * std / mean:.0f} %"

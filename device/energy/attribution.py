"""Joules per phase and step, from stamps and readings; or why they cannot be told."""

from __future__ import annotations

import numpy as np

from slfac.device.energy.account import LEAST_READINGS, Account, Findings
from slfac.device.energy.bootstrap import intervals, make_blocks
from slfac.device.energy.integrate import gaps, integrate
from slfac.device.energy.occupancy import phase_spans, segments
from slfac.device.energy.phases import Timeline, inside, no_spans, touched
from slfac.device.energy.regress import MAX_LAG_S, Design, fit
from slfac.device.energy.results import Attribution, Dropped
from slfac.device.energy.trace import PowerTrace

#: The bootstrap needs so many blocks of steps.
LEAST_BLOCKS = 10
# No board draws so many times what it draws for 95 % of the time.
_ABSURD = 20.0


def attribute(
    timeline: Timeline,
    trace: PowerTrace,
    *,
    throttled: np.ndarray | None = None,
    lag_s: float | None = None,
    seed: int = 0,
) -> Attribution:
    """Divide energy among phases.

    Args:
        timeline: When phases and steps ran.
        trace: Readings on the same clock.
        throttled: Spans in which the board was throttled, sorted and disjoint, ``(N, 2)``;
            steps, phases and readings that touch them are left out.
        lag_s: How late the sensor is; None to find out, up to 60 ms.
        seed: Of the bootstrap.

    Returns:
        What could be told, and of what could not, why.
    """
    marks = no_spans() if throttled is None else throttled
    trace, absurd = _sane(trace)
    steps = timeline.steps[~touched(timeline.steps, marks)]
    kept, left = _readings(timeline, trace, marks)
    dropped = [*absurd, *left, *_left_out(timeline, trace, len(steps))]
    spans = phase_spans(timeline, marks)
    edges = [timeline.begin_s, timeline.end_s]
    pieces = segments(spans, [np.array(edges), steps.ravel()])
    account = Account(pieces, inside(pieces.middle_s, steps), len(steps))
    found, reason = None, _too_little(account, kept)
    if not reason:
        design = Design(spans, *edges)
        found, reason = _solve(account, design, timeline, kept, lag_s=lag_s, seed=seed)
    return Attribution(
        phases=tuple(account.phase(name, found, reason) for name in account.names),
        step=account.step(found, reason),
        steps=len(steps),
        readings=len(kept),
        blocks=found.blocks if found is not None else 0,
        total=integrate(trace, *edges),
        idle_w=account.idle_w(found),
        idle_drift_w=account.idle_drift_w(found),
        lag_s=account.lag_s(found) if lag_s is None else None,
        dropped=tuple(dropped),
    )


def _solve(
    account: Account,
    design: Design,
    timeline: Timeline,
    trace: PowerTrace,
    *,
    lag_s: float | None,
    seed: int,
) -> tuple[Findings | None, str]:
    """Every figure with its interval, or why there are none."""
    fitted = fit(design, trace, lag_s)
    blocks = make_blocks(timeline, trace, fitted)
    count = int(blocks.stepping.sum())
    if count < LEAST_BLOCKS:
        return None, f"{count} blocks of steps, {LEAST_BLOCKS} are needed"
    figures = intervals(fitted, trace.watts, blocks, account.functions(design, fitted), seed)
    readings = {name: float(fitted.columns[:, design.level(name)].sum()) for name in design.names}
    lag = fitted.lag_s if fitted.lag_clear else None
    return Findings(figures, readings, count, lag), ""


def _too_little(account: Account, kept: PowerTrace) -> str:
    if not account.steps:
        return "no steps"
    if not account.names:
        return "no phases"
    if len(kept) < LEAST_READINGS:
        return f"only {len(kept)} readings" if len(kept) else "no readings"
    return ""


def _sane(trace: PowerTrace) -> tuple[PowerTrace, list[Dropped]]:
    """Readings that may be true: what one of them says wrongly would spoil all phases."""
    finite = np.isfinite(trace.watts)
    usual = np.quantile(np.abs(trace.watts[finite]), 0.95) if finite.any() else 0.0
    with np.errstate(invalid="ignore"):
        keep = finite & (np.abs(trace.watts) <= _ABSURD * usual)
    gone = int((~keep).sum())
    if not gone:
        return trace, []
    why = f"not a number, or over {_ABSURD:.0f} times what most are at most"
    return trace.where(keep), [Dropped("readings", gone, why)]


def _readings(
    timeline: Timeline, trace: PowerTrace, marks: np.ndarray
) -> tuple[PowerTrace, list[Dropped]]:
    """Readings whose windows, however late, lie where phases are known and nothing throttled."""
    reach = np.stack([trace.t_s - trace.window_s - MAX_LAG_S, trace.t_s], axis=1)
    known = (reach[:, 0] >= timeline.begin_s) & (reach[:, 1] <= timeline.end_s)
    hot = touched(reach, marks) & known
    dropped = [
        Dropped("readings", int((~known).sum()), "before the first stamp or after the last one"),
        Dropped("readings", int(hot.sum()), "throttled"),
    ]
    return trace.where(known & ~hot), [entry for entry in dropped if entry.amount]


def _left_out(timeline: Timeline, trace: PowerTrace, steps: int) -> list[Dropped]:
    missing = gaps(trace, timeline.begin_s, timeline.end_s)
    dropped = [
        Dropped("steps", len(timeline.steps) - steps, "throttled"),
        Dropped("stamps", timeline.dropped, "the meter was full, or an end had no beginning"),
        Dropped("seconds", float(np.sum(missing[:, 1] - missing[:, 0])), "no readings"),
    ]
    return [entry for entry in dropped if entry.amount]

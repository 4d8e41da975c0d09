"""Makes a report of what a run has taken."""

from __future__ import annotations

import datetime as dt
from typing import cast

import numpy as np

from slfac import __version__
from slfac.device.energy.conditions import Conditions
from slfac.device.energy.means import MeanPhase
from slfac.device.energy.outcome import RunEnergy, Stretch
from slfac.device.energy.pool import Segment
from slfac.device.energy.report import (
    EnergyReport,
    Interval,
    LeftOut,
    PhaseFigures,
    Readings,
    Recently,
    RoundSpent,
    SensorFacts,
    Spans,
    Spent,
)
from slfac.device.energy.results import Estimate
from slfac.wire.messages import Phase

_DIGITS = 6


def make_report(
    energy: RunEnergy,
    *,
    run: str,
    device: str,
    bundle: str,
    before: Conditions,
    after: Conditions,
) -> EnergyReport:
    """Write down what a run has taken.

    Args:
        energy: It.
        run: Id of the run.
        device: Name of the device.
        bundle: Id of the bundle.
        before: The board's state at the beginning.
        after: The same at the end.
    """
    recent = energy.recent
    return EnergyReport(
        schema=1,
        slfac=__version__,
        date=dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
        run=run,
        device=device,
        bundle=bundle,
        sensor=_sensor(energy),
        before=before,
        after=after,
        waiting=_spent(energy.waiting),
        total=_spent(energy.total),
        rounds=tuple(RoundSpent(round=r.round, spent=_spent(r.spent)) for r in energy.rounds),
        phases=tuple(_phase(one) for one in energy.phases),
        steps=energy.steps,
        read=energy.readings,
        idle_w=_interval(energy.idle_w),
        lag_s=_interval(energy.lag_s),
        left_out=tuple(
            LeftOut(what=one.what, amount=one.amount, why=one.why) for one in energy.dropped
        ),
        looking_s=energy.looking_s,
        recently=_recently(recent, energy.begin_s) if recent is not None else None,
    )


def _sensor(energy: RunEnergy) -> SensorFacts:
    info, cost = energy.sensor, energy.cost
    return SensorFacts(
        name=info.name,
        kind=info.kind,
        scope=info.scope,
        gives=info.gives,
        total=info.total,
        place=info.place,
        note=info.note,
        reads=cost.reads if cost is not None else 0,
        failures=energy.failures,
        error=energy.error[:4096],
        lost=energy.lost,
        cpu_s=cost.cpu_s if cost is not None else 0.0,
        reading_s=cost.reading_s if cost is not None else 0.0,
        running_s=cost.running_s if cost is not None else 0.0,
    )


def _spent(stretch: Stretch) -> Spent:
    return Spent(
        joules=stretch.joules,
        known=stretch.known,
        covered_s=stretch.covered_s,
        missing_s=stretch.missing_s,
    )


def _phase(one: MeanPhase) -> PhaseFigures:
    return PhaseFigures(
        phase=cast("Phase", one.phase),
        ms=one.ms,
        joules=_interval(one.joules),
        above_idle_joules=_interval(one.above_idle_joules),
        watts=_interval(one.watts),
        unresolved=one.unresolved,
    )


def _interval(one: Estimate | None) -> Interval | None:
    return Interval(value=one.value, low=one.low, high=one.high) if one is not None else None


def _recently(recent: Segment, begin_s: float) -> Recently:
    timeline, trace = recent.timeline, recent.trace
    throttled = recent.throttled
    return Recently(
        begin_s=round(timeline.begin_s - begin_s, _DIGITS),
        end_s=round(timeline.end_s - begin_s, _DIGITS),
        readings=Readings(
            t_s=_numbers(trace.t_s - begin_s),
            window_s=_numbers(trace.window_s),
            watts=_numbers(trace.watts),
        ),
        spans={cast("Phase", k): _spans(own - begin_s) for k, own in timeline.spans.items()},
        steps=_spans(timeline.steps - begin_s),
        throttled=_spans(throttled - begin_s) if throttled is not None else None,
    )


def _numbers(values: np.ndarray) -> tuple[float, ...]:
    return tuple(np.round(values, _DIGITS).tolist())


def _spans(values: np.ndarray) -> Spans:
    return tuple((begin, end) for begin, end in np.round(values, _DIGITS).tolist())

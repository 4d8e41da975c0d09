"""The energy of a run as a record of a measurement, so that it can be drawn like one."""

from __future__ import annotations

import math
from collections.abc import Iterator

from slfac.device.energy.report import EnergyReport, Interval, PhaseFigures, Recently
from slfac.device.profiling import record as measured
from slfac.wire.errors import SettingsError
from slfac.wire.messages import Phase

_STEP: Phase = "step"
_SHOWN = {"load", "forward", "encode", "send", "wait", "decode", "backward", "update"}
# As many steps as show a sensor's readings, and few enough to tell phases apart.
_SHOWN_S, _FEWEST, _MOST = 0.6, 2, 12


def record_of(report: EnergyReport, name: str) -> measured.Record:
    """Make a record of what a run has taken.

    Args:
        report: It.
        name: What to call it in errors.

    Returns:
        A record with one front: the steps that the device made with its server.

    Raises:
        SettingsError: The device left before it had made a step.
    """
    recent = report.recently
    if recent is None or not recent.steps:
        raise SettingsError(f"{name} has no steps that could be drawn", "train for longer")
    begin_s = recent.begin_s
    seconds = recent.end_s - begin_s
    figures = {one.phase: one for one in report.phases}
    said = recent.readings
    section = measured.Section(
        kind="front",
        label=f"the last {len(recent.steps)} of {report.steps} steps",
        begin_s=recent.steps[0][0] - begin_s,
        end_s=recent.steps[-1][1] - begin_s,
        front=0,
        repetitions=(_steps(recent, figures),),
        energy=tuple(_joules(one) for one in report.phases if one.phase != _STEP),
        step=_joules(figures[_STEP]) if _STEP in figures else None,
        left_out=tuple(
            measured.LeftOut(what=one.what, amount=one.amount, why=one.why)
            for one in report.left_out
        ),
        spans=_few(recent),
    )
    return measured.Record(
        schema=measured.SCHEMA,
        command="slfac device --energy",
        date=report.date,
        seconds=seconds,
        board=measured.BoardFacts(name=report.device, title=f"{report.device} in a run"),
        machine={},
        versions={"slfac": report.slfac},
        settings={"run": report.run, "bundle": report.bundle},
        before=report.before,
        after=report.after,
        sensor=_sensor(report),
        notes=tuple(_notes(report)),
        fronts=(_front(report),),
        sections=(section,),
        readings=measured.Readings(
            t_s=tuple(t - begin_s for t in said.t_s), window_s=said.window_s, watts=said.watts
        ),
    )


def _steps(recent: Recently, figures: dict[Phase, PhaseFigures]) -> measured.Repetition:
    """The steps as one repetition; how long phases ran is that of all steps of the run."""
    count = len(recent.steps)
    return measured.Repetition(
        begin_s=recent.steps[0][0] - recent.begin_s,
        end_s=recent.steps[-1][1] - recent.begin_s,
        count=count,
        seconds={phase: 1e-3 * one.ms * count for phase, one in figures.items() if phase in _SHOWN},
    )


def _few(recent: Recently) -> dict[str, measured.Spans]:
    """Phases of a few of the last steps, beginning with the record."""
    steps = recent.steps
    mean_s = sum(end - begin for begin, end in steps) / len(steps)
    count = min(len(steps), max(_FEWEST, min(_MOST, math.ceil(_SHOWN_S / max(mean_s, 1e-6)))))
    since, until = steps[-count][0], steps[-1][1]

    def shifted(spans: measured.Spans) -> measured.Spans:
        inside = [(b, e) for b, e in spans if b >= since and e <= until]
        return tuple((b - recent.begin_s, e - recent.begin_s) for b, e in inside)

    found: dict[str, measured.Spans] = {k: shifted(spans) for k, spans in recent.spans.items()}
    return {**found, _STEP: shifted(steps)}


def _joules(one: PhaseFigures) -> measured.PhaseJoules:
    return measured.PhaseJoules(
        phase=one.phase,
        seconds_per_step=1e-3 * one.ms,
        joules_per_step=_interval(one.joules),
        above_idle_joules_per_step=_interval(one.above_idle_joules),
        watts=_interval(one.watts),
        unresolved=one.unresolved[:4000],
    )


def _interval(one: Interval | None) -> measured.Interval | None:
    return (
        measured.Interval(value=one.value, low=one.low, high=one.high) if one is not None else None
    )


def _sensor(report: EnergyReport) -> measured.SensorFacts | None:
    told = report.sensor
    if told.scope is None:
        return None
    return measured.SensorFacts(
        name=told.name,
        kind=told.kind,
        scope=told.scope,
        total=told.total,
        place=told.place[:4000],
        note=told.note[:4000],
        counted=told.gives == "energy",
        reads=told.reads,
        failures=told.failures,
        error=told.error[:4000],
        lost_s=0.0 if told.lost else None,
        cpu_s=told.cpu_s,
    )


def _notes(report: EnergyReport) -> Iterator[str]:
    total, rounds = report.total, len(report.rounds)
    known = "unknown" if total.known is None else f"{total.known:.4g} J"
    yield (
        f"A training run of {rounds} rounds and {report.steps} steps: {known} in all; readings "
        f"cover {total.covered_s:.1f} s, {total.missing_s:.1f} s are without any."
    )
    yield "The trace shows the last rounds. Waiting for the server and other devices is in a step."
    if report.idle_w is not None:
        idle = report.idle_w
        yield f"Idle power: {idle.value:.3g} W, 95 % interval {idle.low:.3g} to {idle.high:.3g}."


def _front(report: EnergyReport) -> measured.FrontFacts:
    return measured.FrontFacts(
        name=f"{report.device}, run {report.run}",
        bundle=report.bundle,
        model="",
        cut="",
        input_shape=(),
        smashed_shapes=(),
        parameters=0,
        batch=0,
        data="",
        peak_bytes=(),
    )

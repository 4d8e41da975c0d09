"""The page and the figure of a measurement."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from slfac.device.energy.conditions import Conditions
from slfac.device.energy.phases import OTHER
from slfac.device.profiling.figures import (
    digits,
    idle_w,
    intervals,
    of_kind,
    per_second,
    phase_ms,
    table,
)
from slfac.device.profiling.record import Record
from slfac.testbed.energy.figures import overview, panel_image, panels
from slfac.testbed.report import page
from slfac.testbed.report.theme import DARK, LIGHT
from slfac.testbed.report.units import human_seconds
from slfac.testbed.write import replace_file

_ENERGY = (
    "Joules of a phase are from a regression of readings on what ran when, with an interval from "
    "a bootstrap over steps (docs/energy-attribution.md). They say nothing of the sensor's own "
    "error."
)


def write_energy_report(record: Record, folder: Path, stem: str) -> list[Path]:
    """Write ``STEM.html`` and ``STEM.png``; files of those names are replaced.

    Args:
        record: The measurement.
        folder: Where to, made if it is not there.
        stem: What the files are called.

    Returns:
        The files.

    Raises:
        RunError: One cannot be written.
    """
    files = {
        folder / f"{stem}.html": energy_page(record).encode(),
        folder / f"{stem}.png": overview(record),
    }
    for path, data in files.items():
        replace_file(path, data)
    return list(files)


def energy_page(record: Record) -> str:
    """The page.

    Args:
        record: The measurement.

    Returns:
        Self-contained HTML.
    """
    drawn = [
        (panel.name, panel_image(panel, LIGHT), panel_image(panel, DARK))
        for panel in panels(record)
    ]
    return page.page(
        record.board.title,
        f"{record.board.name}, {record.date[:16].replace('T', ' ')} UTC, "
        f"measured for {human_seconds(record.seconds)}",
        [
            page.tiles(list(_tiles(record))),
            *(page.note(note) for note in record.notes),
            *(page.figures([image]) for image in drawn),
            page.heading("All figures"),
            page.table(["", "mean", "95 % interval", "runs"], (row.cells for row in table(record))),
            page.note(f"{intervals(record)}."),
            *([page.note(_ENERGY)] if record.sensor else []),
            *_left_out(record),
            *_fronts(record),
            page.heading("Board and conditions"),
            page.facts(_facts(record)),
            page.heading("What was asked for"),
            page.facts([("command", record.command), *record.settings.items()]),
        ],
    )


def _tiles(record: Record) -> Iterator[tuple[str, str]]:
    if record.sensor is None:
        yield "no sensor", "times only"
    elif idle := idle_w(record):
        yield f"{digits(idle.value, 3)} W", f"idle, {record.sensor.scope}"
    products = [s for s in of_kind(record, "gemm") if s.dtype == "fp32"]
    for section in products[-1:]:
        if speed := per_second(section, 1e9):
            yield f"{digits(speed.value, 3)} GFLOP/s", section.label
    for section in of_kind(record, "copy"):
        if speed := per_second(section, 1e9):
            yield f"{digits(speed.value, 3)} GB/s", "memory copied"
    for section in of_kind(record, "front")[:2]:
        name = record.fronts[section.front or 0].name
        phases = dict.fromkeys(phase for one in section.repetitions for phase in one.seconds)
        known = [figure for phase in phases if (figure := phase_ms(section, phase))]
        if known:
            yield f"{digits(sum(f.value for f in known), 3)} ms", f"a step of {name}"
        if section.step is not None and (joules := section.step.joules_per_step):
            yield f"{digits(1e3 * joules.value, 3)} mJ", f"a step of {name}"


def _left_out(record: Record) -> list[str]:
    rows = [
        (section.label, digits(out.amount), out.what, out.why)
        for section in record.sections
        for out in section.left_out
    ]
    rows += [
        (section.label, "", f"{phase.phase} not resolved", phase.unresolved)
        for section in record.sections
        for phase in section.energy
        if phase.joules_per_step is None and phase.phase != OTHER
    ]
    rows += [(s.label, "", "not measured", s.failed) for s in record.sections if s.failed]
    if not rows:
        return []
    return [
        page.heading("What was left out, or could not be told"),
        page.table(["", "how many", "of what", "why"], rows),
    ]


def _fronts(record: Record) -> list[str]:
    rows = [
        (
            front.name,
            front.model,
            front.cut,
            "x".join(map(str, front.input_shape)),
            ", ".join("x".join(map(str, shape)) for shape in front.smashed_shapes),
            str(front.parameters),
            str(front.batch),
            front.data,
        )
        for front in record.fronts
    ]
    columns = [
        "front",
        "model",
        "cut",
        "input",
        "smashed data",
        "parameters",
        "batch",
        "batches of",
    ]
    return [page.heading("Fronts"), page.table(columns, rows)] if rows else []


def _facts(record: Record) -> Iterator[tuple[str, str]]:
    yield from record.machine.items()
    if record.board.model:
        yield "model", record.board.model
    sensor = record.sensor
    if sensor is None:
        yield "sensor", "none"
    else:
        yield (
            "sensor",
            f"{sensor.name} ({sensor.scope}): {' + '.join(sensor.total)}, {sensor.place}",
        )
        yield "readings", f"{len(record.readings.t_s)}; {sensor.failures} failed"
        yield "reading took", f"{digits(sensor.cpu_s)} s of processor time"
        if sensor.note:
            yield "of the sensor", sensor.note
    yield from _conditions(record.before, record.after)
    yield "versions", ", ".join(f"{name} {version}" for name, version in record.versions.items())


def _conditions(before: Conditions, after: Conditions) -> Iterator[tuple[str, str]]:
    for what, unit, first, last in (
        ("temperature", "degrees C", before.temperatures_c, after.temperatures_c),
        ("clock", "MHz", before.clocks_mhz, after.clocks_mhz),
    ):
        for name in {**first, **last}:
            values = [
                f"{v:.1f}" if (v := side.get(name)) is not None else "?" for side in (first, last)
            ]
            yield f"{what}, {name}", f"{values[0]} before, {values[1]} after, {unit}"
    if before.governors:
        yield "governor", ", ".join(sorted({*before.governors.values()}))
    if before.power_mode is not None:
        yield "power mode", before.power_mode
    for when, side in (("before", before), ("after", after)):
        if side.throttled_now is not None:
            yield f"held down {when}", ", ".join(side.throttled_now) or "by nothing"
        if side.overcurrents is not None:
            yield f"over-current events {when}", str(side.overcurrents)

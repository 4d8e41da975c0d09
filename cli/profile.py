"""``slfac profile``: what boards draw, and what measures this one."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slfac import __version__
from slfac.cli.parsers import add_command, given
from slfac.cli.profile_calibrate import add_profile_calibrate
from slfac.cli.profile_files import add_profile_files
from slfac.cli.profile_link import add_profile_link
from slfac.cli.profile_run import add_profile_run
from slfac.cli.sensors import add_sensor_options, take_sensor_options
from slfac.cli.tables import aligned, print_line
from slfac.wire.errors import SettingsError, SlfacError

if TYPE_CHECKING:
    from slfac.device.energy.base import PowerSensor, Probe
    from slfac.device.energy.conditions import Conditions
    from slfac.device.energy.measure import Measured

_EPILOG = """\
examples:
  slfac profile sensors
  slfac profile run --bundle bundle --out board.toml
  slfac profile show pi-4b
  slfac profile check measured.toml
"""
_SENSORS_EPILOG = """\
examples:
  slfac profile sensors
  slfac profile sensors --plug http://192.168.1.9 --sensor plug
  slfac profile sensors --i2c-chip ina219 --shunt-ohm 0.1 --json

What is marked with * would be read. Boards, rails and permissions: docs/energy.md.
"""
_HEADER = ("", "sensor", "scope", "gives", "reads/s", "new/s", "step", "now")


def add_parser(subparsers: Any) -> None:
    """Register the subcommand.

    Args:
        subparsers: The main parser's subparsers.
    """
    parser = add_command(
        subparsers,
        "profile",
        summary="power and energy of boards",
        epilog=_EPILOG,
        run=run_sensors,
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    _add_sensors(actions)
    add_profile_run(actions)
    add_profile_files(actions)
    add_profile_link(actions)
    add_profile_calibrate(actions)


def _add_sensors(actions: Any) -> None:
    sensors = add_command(
        actions,
        "sensors",
        summary="what measures this board's power, and what was passed over",
        epilog=_SENSORS_EPILOG,
        run=run_sensors,
    )
    add = sensors.add_argument
    add("--measure-s", type=float, metavar="S", help="how long to read each of them (1)")
    add("--root", type=Path, metavar="DIR", help="look at a copied tree instead of this machine")
    add("--json", action="store_true", help="print one JSON object")
    add_sensor_options(sensors)


def run_sensors(args: argparse.Namespace) -> int:
    """Run ``slfac profile sensors``.

    Args:
        args: The parsed command line.

    Returns:
        The exit code.

    Raises:
        SettingsError: ``--root`` is no folder, ``--measure-s`` is out of range, or the sensor
            that is named cannot be read, which is said behind the list.
    """
    from slfac.device.energy.conditions import read_conditions
    from slfac.device.energy.discover import choose_sensors, find_sensors
    from slfac.device.energy.host import host_at
    from slfac.device.energy.measure import measure
    from slfac.device.energy.settings import sensor_settings

    values = given(args)
    settings = sensor_settings(**take_sensor_options(values))
    root: Path = values.get("root", Path("/"))
    measure_s: float = values.get("measure_s", 1.0)
    if not root.is_dir():
        raise SettingsError(f"--root is {str(root)!r}, which is no folder", "name one")
    if not 0 <= measure_s <= 3600:
        raise SettingsError(f"--measure-s is {measure_s:g}", "give seconds, from 0 to 3600")
    host = host_at(root)
    found = find_sensors(host, settings)
    try:
        rows = [(sensor, measure(sensor, host, measure_s)) for sensor in found.sensors]
    finally:
        for sensor in found.sensors:
            sensor.close()
    chosen, refused = [], None
    try:
        chosen = choose_sensors(found, settings)
    except SlfacError as error:
        refused = error  # the list is what helps then
    conditions = read_conditions(host)
    if values.get("json", False):
        print(json.dumps(_as_json(rows, found, chosen, conditions), indent=2))
    else:
        for line in (*_table(rows, chosen), *_passed(found), *_said(conditions)):
            print_line(line)
        print_line(_summary(found, chosen))
    if refused is not None:
        raise refused
    return 0


def _as_json(
    rows: list[tuple[PowerSensor, Measured]],
    found: Probe,
    chosen: list[PowerSensor],
    conditions: Conditions,
) -> dict[str, Any]:
    return {
        "slfac": __version__,
        "chosen": [sensor.info.name for sensor in chosen],
        "sensors": [
            {**dataclasses.asdict(sensor.info), "measured": dataclasses.asdict(measured)}
            for sensor, measured in rows
        ],
        "passed_over": [dataclasses.asdict(over) for over in found.passed],
        "conditions": dataclasses.asdict(conditions),
    }


def _table(rows: list[tuple[PowerSensor, Measured]], chosen: list[PowerSensor]) -> Iterator[str]:
    if not rows:
        return
    cells = [_HEADER]
    for sensor, measured in rows:
        info = sensor.info
        step = _unit(info.lsb_j, "J") if info.gives == "energy" else _unit(info.lsb_w, "W")
        mark = "*" if sensor in chosen else ""
        rates = (f"{measured.reads_hz:.1f}", f"{measured.new_hz:.1f}")
        now = "unknown" if measured.power_w is None else f"{measured.power_w:.3f} W"
        cells.append((mark, info.name, info.scope or "", info.gives, *rates, step, now))
    for number, line in enumerate(aligned(cells)):
        yield line
        if number:
            yield from _details(*rows[number - 1])


def _details(sensor: PowerSensor, measured: Measured) -> Iterator[str]:
    info = sensor.info
    others = [rail for rail in info.rails if rail not in info.total]
    yield f"     {' + '.join(info.total)}" + (f"; also {', '.join(others)}" if others else "")
    yield f"     {info.place}"
    if info.note:
        yield f"     {info.note}"
    if measured.failures:
        yield f"     {measured.failures} reads failed: {measured.error}"


def _unit(step: float | None, unit: str) -> str:
    if step is None:
        return "unknown"
    return f"{step * 1e3:.3g} m{unit}" if step < 1 else f"{step:.3g} {unit}"


def _passed(found: Probe) -> Iterator[str]:
    for over in found.passed:
        yield f"passed over {over.name} ({over.place}): {over.why}"
        if over.remedy:
            yield f"     -> {over.remedy}"


def _said(conditions: Conditions) -> Iterator[str]:
    if conditions.temperatures_c:
        zones = (f"{name} {c:.1f}" for name, c in conditions.temperatures_c.items())
        yield f"degrees C: {', '.join(zones)}"
    if conditions.clocks_mhz:
        yield f"MHz: {', '.join(f'{name} {mhz:g}' for name, mhz in conditions.clocks_mhz.items())}"
    if conditions.governors:
        yield f"governor: {', '.join(sorted(set(conditions.governors.values())))}"
    if conditions.throttled_now is not None:
        since_boot = ", ".join(conditions.throttled_since_boot or ()) or "nothing"
        now = ", ".join(conditions.throttled_now) or "nothing"
        yield f"held down by: {now} now, {since_boot} since the start"
    if conditions.overcurrents is not None:
        yield f"over-current events: {conditions.overcurrents}"
    if conditions.power_mode is not None:
        yield f"power mode: {conditions.power_mode}"


def _summary(found: Probe, chosen: list[PowerSensor]) -> str:
    used = " + ".join(sensor.info.name for sensor in chosen)
    used = f"{used} would be read" if used else "none would be read: times, but no joules"
    return f"{len(found.sensors)} found, {len(found.passed)} passed over; {used}"

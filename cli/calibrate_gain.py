"""``slfac profile calibrate gain``: a board's own sensor against a meter."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from slfac.cli.calibrating import clock_of, sampling, say
from slfac.cli.parsers import given
from slfac.cli.profile_update import figure_fields, load_own_profile, plain_text, with_entry
from slfac.cli.sensors import take_sensor_options
from slfac.cli.tables import aligned, print_line
from slfac.cli.threads import limit_threads
from slfac.wire.errors import SettingsError

if TYPE_CHECKING:
    from slfac.device.energy.base import PowerSensor, SensorInfo
    from slfac.device.energy.host import Host
    from slfac.device.energy.settings import SensorSettings
    from slfac.device.profiling.gain import GainFit, Ladder, Rung

_AFTER_S: Final = 3.0


def run_gain(args: argparse.Namespace) -> int:
    """Run ``slfac profile calibrate gain``.

    Args:
        args: The parsed command line.

    Returns:
        The exit code.

    Raises:
        SettingsError: A setting is wrong, the profile cannot be written, or the meter measures no
            more than the sensor.
        SensorError: One of the two cannot be read, or loads do not tell a gain.
    """
    limit_threads(blas=1, openmp=1)
    from slfac.device.energy.host import host_at
    from slfac.device.profiling.gain import Ladder, check_scopes, fit_gain
    from slfac.hw_profiles import write_profile

    values = given(args)
    path: Path = values["profile"]
    load_own_profile(path)
    names = ("repetitions", "step_s", "settle_s", "seed")
    loads = Ladder.loads_of(len(os.sched_getaffinity(0)))
    ladder = Ladder(loads, **{name: values[name] for name in names if name in values})
    host = host_at(Path("/"))
    own, meter = _gain_settings(values)
    with (
        contextlib.closing(_open(host, own)) as sensor,
        contextlib.closing(_open(host, meter)) as truth,
    ):
        check_scopes(sensor.info, truth.info)
        rates = [info.max_hz for info in (sensor.info, truth.info) if info.max_hz is not None]
        ladder.check(min(rates, default=None))
        say(f"{sensor.info.name} against {truth.info.name}, {ladder.seconds / 60:.0f} minutes")
        with (
            sampling(sensor, host, ladder.seconds) as first,
            sampling(truth, host, ladder.seconds) as second,
        ):
            rungs = _climb(ladder, host)
            traces = first.take().trace, second.take().trace
        found = fit_gain(rungs, ladder, *traces, seed=ladder.seed)
        for line in _lines(found):
            print_line(line)
        fields = _fields(found, sensor.info, truth.info)
    write_profile(with_entry(load_own_profile(path), "sensors", sensor.info.kind, **fields), path)
    print_line(f"sensor {sensor.info.kind} of {path} is written; --calibration {path} applies it")
    return 0


def _climb(ladder: Ladder, host: Host) -> list[Rung]:
    from slfac.device.profiling.gain import Workers, run_ladder

    rungs = run_ladder(Workers().busy, ladder, clock=clock_of(host), wait=host.wait, say=say)
    host.wait(_AFTER_S)  # what a meter tells late
    return rungs


def _gain_settings(values: dict[str, Any]) -> tuple[SensorSettings, SensorSettings]:
    """Of the board's own sensor, and of the meter."""
    from slfac.device.energy.settings import sensor_settings

    options = take_sensor_options(values)
    if "calibration" in options:
        raise SettingsError(
            "--calibration is given", "a calibration starts from the sensor as it is"
        )
    if "sensor" not in options:
        raise SettingsError("--sensor is missing", "name the board's own: `slfac profile sensors`")
    named = [name for name in ("plug", "meter_file", "serial_port", "i2c_chip") if name in options]
    meter = values.get("meter", "auto")
    if meter == "auto" and len(named) != 1:
        raise SettingsError(
            "which meter is the truth is not said",
            "give --plug, --meter-file, --serial-port or --i2c-chip, or its name with --meter",
        )
    own = sensor_settings(**options)
    # What the board's own sensor measures is known, or --scope; a meter's is --meter-scope.
    theirs = {"sensor": meter, "scope": own.meter_scope, "total": None, "all_rails": False}
    return own, sensor_settings(**{**options, **theirs})


def _open(host: Host, settings: SensorSettings) -> PowerSensor:
    from slfac.device.energy.discover import open_sensor

    return open_sensor(host, settings)


def _lines(found: GainFit) -> Iterator[str]:
    rows: list[tuple[str, ...]] = [("", "figure", "95 % interval")]
    for what, figure, unit in (("gain", found.gain, ""), ("offset_w", found.offset_w, " W")):
        interval = f"{figure.low:.5g} to {figure.high:.5g}"
        rows.append((what, f"{figure.value:.5g}{unit}", interval))
    yield from aligned(rows)
    rows = [("load", "count", "sensor", "meter", "the fit leaves")]
    for load in found.loads:
        watts = (f"{load.sensor_w:.3f} W", f"{load.meter_w:.3f} W", f"{1e3 * load.left_w:+.1f} mW")
        rows.append((load.name, str(load.rungs), *watts))
    yield from aligned(rows)
    lag = found.lag
    drifts = "" if lag.drift is None else f", {1e6 * lag.drift:+.0f} ppm of drift"
    yield f"the meter is {lag.lag_s:.2f} s late{drifts}; correlation {lag.correlation:.4f}"
    yield f"the fit leaves {1e3 * found.left_w:.1f} mW of a step; {found.kept} steps count"
    for out in found.left_out:
        yield f"     left out: {out}"


def _fields(found: GainFit, own: SensorInfo, meter: SensorInfo) -> dict[str, Any]:
    """What a profile's sensor gets."""
    from slfac.hw_profiles import Value

    source = (
        f"slfac profile calibrate gain: sensor {own.name} of the {own.scope} against "
        f"{meter.name} of the {meter.scope} ({meter.place})"
    )
    figures = {"gain": found.gain, "offset_w": found.offset_w}
    return {
        "scope": own.scope,
        "total": tuple(plain_text(rail) for rail in own.total),
        "gain_scope": meter.scope,
        **{
            name: Value(**figure_fields(held, kind="calibrated", source=source, runs=found.kept))
            for name, held in figures.items()
        },
    }

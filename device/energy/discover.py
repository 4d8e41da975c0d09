"""Finds every sensor of a machine, and chooses the one that is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from slfac.device.energy.base import PassedOver, PowerSensor, Probe
from slfac.device.energy.battery import probe_battery
from slfac.device.energy.calibrated import (
    CalibratedSensor,
    calibrated,
    mismatch,
    plain_name,
)
from slfac.device.energy.combined import SumSensor
from slfac.device.energy.generic import probe_generic
from slfac.device.energy.host import Host
from slfac.device.energy.i2c import probe_i2c
from slfac.device.energy.ina2xx import probe_ina2xx
from slfac.device.energy.jetson import probe_jetson
from slfac.device.energy.meter import probe_meter
from slfac.device.energy.null import NullSensor
from slfac.device.energy.pi5 import probe_pi5
from slfac.device.energy.plug import probe_plug
from slfac.device.energy.rapl import probe_rapl
from slfac.device.energy.settings import SensorSettings
from slfac.wire.errors import SensorError, SettingsError

# The best first: what the user has named, a meter in the supply, the board's own, parts of it.
_DRIVERS: Final[tuple[Callable[[Host, SensorSettings], Probe], ...]] = (
    probe_meter,
    probe_i2c,
    probe_ina2xx,
    probe_jetson,
    probe_pi5,
    probe_generic,
    probe_rapl,
    probe_battery,
    probe_plug,
)
# Settings that name one sensor: if it is not there, no other takes its place.
_NAMED: Final = (
    ("serial_port", "meter"),
    ("meter_file", "meter"),
    ("i2c_chip", "i2c"),
    ("plug", "plug"),
)


def find_sensors(host: Host, settings: SensorSettings) -> Probe:
    """Look for all sensors, the best first.

    Args:
        host: Where to look.
        settings: Of plugs, meters and chips that cannot be found by looking.

    Returns:
        What was found, open; close those that are not kept.

    Raises:
        SettingsError: Settings name rails that there are not, or count something twice.
    """
    found = Probe()
    try:
        for driver in _DRIVERS:
            probe = driver(host, settings)
            found.sensors += [calibrated(s, settings.calibration) for s in probe.sensors]
            found.passed += probe.passed
    except BaseException:
        _close(found.sensors)
        raise
    return found


def open_sensor(host: Host, settings: SensorSettings) -> PowerSensor:
    """Open the sensor that the settings say, or the best there is.

    Args:
        host: Where to look.
        settings: Which one.

    Returns:
        The sensor; one that gives nothing where ``sensor`` is ``none``, or ``auto`` finds none.

    Raises:
        SettingsError: A name is not one of a sensor that there is, or several that are named
            cannot be added up.
        SensorError: A sensor that the settings name cannot be read.
    """
    if settings.sensor == "none":
        return NullSensor(host)
    found = find_sensors(host, settings)
    try:
        chosen = choose_sensors(found, settings)
    except BaseException:
        _close(found.sensors)
        raise
    _close([sensor for sensor in found.sensors if sensor not in chosen])
    if not chosen:
        return NullSensor(host)
    return chosen[0] if len(chosen) == 1 else SumSensor(chosen)


def choose_sensors(found: Probe, settings: SensorSettings) -> list[PowerSensor]:
    """Which of the sensors that were found are read.

    Args:
        found: What was found, the best first.
        settings: Which are wanted.

    Returns:
        One, several that are added up, or none.

    Raises:
        SettingsError: A name is not one of a sensor that there is, several that are named cannot
            be added up, or a calibration is of another sensor.
        SensorError: A sensor that the settings name cannot be read.
    """
    chosen = _choose(found, settings)
    if settings.calibration:
        _check_calibrated(chosen, settings)
    return chosen


def _check_calibrated(chosen: list[PowerSensor], settings: SensorSettings) -> None:
    """Refuse to read a sensor as it is where a calibration was asked for."""
    drivers = ", ".join(sorted({calibration.driver for calibration in settings.calibration}))
    source = settings.calibration[0].source
    if len(chosen) != 1:
        read = f"{len(chosen)} sensors are added up" if chosen else "no sensor can be read"
        raise SettingsError(
            f"setting calibration is by {source}, but {read}",
            f"it is of one sensor: --sensor {drivers}; `slfac profile sensors` lists what there is",
        )
    info = chosen[0].info
    if not isinstance(chosen[0], CalibratedSensor):
        whys = [mismatch(info, calibration) for calibration in settings.calibration]
        alike = [c.driver == info.kind for c in settings.calibration]
        why = whys[alike.index(True)] if True in alike else f"it is of {drivers}"
        raise SettingsError(
            f"setting calibration is by {source}: {why}, and {info.name} would be read",
            "name the sensor that it is of with --sensor, or leave the calibration out",
        )


def _choose(found: Probe, settings: SensorSettings) -> list[PowerSensor]:
    if settings.sensor == "none":
        return []
    if settings.sensor != "auto":
        chosen = [_named(found, settings, name) for name in settings.sensor.split(",")]
        if len(chosen) > 1:
            SumSensor(chosen)  # refuses what cannot be added up
        return chosen
    for setting, kind in _NAMED:
        if getattr(settings, setting) is None:
            continue
        named = [sensor for sensor in found.sensors if sensor.info.kind == kind]
        return named or [_refuse(found, kind)]
    return _best(found)


def _best(found: Probe) -> list[PowerSensor]:
    """The first sensor, if there are no others like it."""
    best = found.sensors[:1]
    alike = [s for s in found.sensors if s.info.kind == best[0].info.kind] if best else []
    alike = [s for s in alike if s.info.scope == best[0].info.scope]
    if len(alike) > 1:
        names = [sensor.info.name for sensor in alike]
        raise SettingsError(
            f"setting sensor is 'auto', but there are {', '.join(names)}",
            f"name the one that measures the {best[0].info.scope}, or if each measures a part: "
            f"--sensor {','.join(names)}",
        )
    return best


def _named(found: Probe, settings: SensorSettings, name: str) -> PowerSensor:
    """The sensor of a name, or the only one of a kind."""
    exact = [s for s in found.sensors if name in (s.info.name, plain_name(s.info.name))]
    fitting = exact or [sensor for sensor in found.sensors if sensor.info.kind == name]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        names = ", ".join(sensor.info.name for sensor in fitting)
        raise SettingsError(
            f"setting sensor is {settings.sensor!r}, which more than one is: {names}",
            "name one of them",
        )
    if any(_is_of(over, name) for over in found.passed):
        return _refuse(found, name)
    names = ", ".join(sensor.info.name for sensor in found.sensors) or "none"
    raise SettingsError(
        f"setting sensor is {settings.sensor!r}: there is no sensor {name!r}",
        f"sensors found: {names}; `slfac profile sensors` says more",
    )


def _refuse(found: Probe, name: str) -> PowerSensor:
    over = next(over for over in found.passed if _is_of(over, name))
    raise SensorError(f"sensor {over.name} cannot be used: {over.why}", over.remedy)


def _is_of(over: PassedOver, name: str) -> bool:
    """Whether what was passed over is the sensor of a name, a rail of it, or of that kind."""
    full = over.name.split()[0]
    return name in (full, full.partition("@")[0])


def _close(sensors: list[PowerSensor]) -> None:
    for sensor in sensors:
        sensor.close()

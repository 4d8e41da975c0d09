"""Opens the sensor of a run, and says what will come of it."""

from __future__ import annotations

from collections.abc import Callable

from slfac.device.energy.base import PowerSensor
from slfac.device.energy.discover import find_sensors, open_sensor
from slfac.device.energy.host import Host
from slfac.device.energy.settings import SensorSettings


def open_for_run(
    host: Host, settings: SensorSettings, on_status: Callable[[str], None]
) -> PowerSensor:
    """Open the sensor that is read during a run.

    Args:
        host: Where to look.
        settings: Which one.
        on_status: Told what will be read, or why no joules will be told.

    Returns:
        The sensor; one that gives nothing where there is none.

    Raises:
        SettingsError: A name is not one of a sensor that there is.
        SensorError: A sensor that the settings name cannot be read.
    """
    sensor = open_sensor(host, settings)
    info = sensor.info
    if info.scope is not None:
        on_status(f"measuring energy: sensor {info.name}, of the {info.scope}")
    elif settings.sensor == "none":
        on_status("times are measured, but no joules: setting sensor is 'none'")
    else:
        # Nothing was found, so that nothing has to be closed.
        passed = find_sensors(host, settings).passed
        on_status(
            "times are measured, but no joules: no power sensor was found, and "
            f"{len(passed)} passed over (`slfac profile sensors` shows them)"
        )
    return sensor

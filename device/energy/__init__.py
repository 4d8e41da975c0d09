"""Power and energy of the board: sensors, and what their figures depend on.

Its names are loaded when they are first asked for: ``slfac doctor`` reads temperatures here and
must work where a package that settings need is missing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slfac.device.energy.base import PowerSensor, Sample, SensorInfo
    from slfac.device.energy.conditions import Conditions, read_conditions
    from slfac.device.energy.discover import find_sensors, open_sensor
    from slfac.device.energy.host import Host, host_at
    from slfac.device.energy.settings import SensorSettings, sensor_settings

__all__ = [
    "Conditions",
    "Host",
    "PowerSensor",
    "Sample",
    "SensorInfo",
    "SensorSettings",
    "find_sensors",
    "host_at",
    "open_sensor",
    "read_conditions",
    "sensor_settings",
]

_HOMES = {
    "Conditions": "conditions",
    "Host": "host",
    "PowerSensor": "base",
    "Sample": "base",
    "SensorInfo": "base",
    "SensorSettings": "settings",
    "find_sensors": "discover",
    "host_at": "host",
    "open_sensor": "discover",
    "read_conditions": "conditions",
    "sensor_settings": "settings",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)

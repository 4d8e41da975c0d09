"""Power and energy of the board: sensors, and what their figures depend on.

Its names are loaded when they are first asked for: ``slfac doctor`` reads temperatures here and
must work where a package that settings need is missing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slfac.device.energy.attribution import attribute
    from slfac.device.energy.base import PowerSensor, Sample, SensorInfo
    from slfac.device.energy.conditions import Conditions, read_conditions
    from slfac.device.energy.discover import find_sensors, open_sensor
    from slfac.device.energy.host import Host, host_at
    from slfac.device.energy.phasemeter import PhaseMeter
    from slfac.device.energy.results import Attribution
    from slfac.device.energy.sampler import Sampler
    from slfac.device.energy.settings import Calibration, SensorSettings, sensor_settings
    from slfac.device.energy.throttle import ThrottleWatch

__all__ = [
    "Attribution",
    "Calibration",
    "Conditions",
    "Host",
    "PhaseMeter",
    "PowerSensor",
    "Sample",
    "Sampler",
    "SensorInfo",
    "SensorSettings",
    "ThrottleWatch",
    "attribute",
    "find_sensors",
    "host_at",
    "open_sensor",
    "read_conditions",
    "sensor_settings",
]

_HOMES = {
    "Attribution": "results",
    "Calibration": "settings",
    "Conditions": "conditions",
    "Host": "host",
    "PhaseMeter": "phasemeter",
    "PowerSensor": "base",
    "Sample": "base",
    "Sampler": "sampler",
    "SensorInfo": "base",
    "SensorSettings": "settings",
    "ThrottleWatch": "throttle",
    "attribute": "attribution",
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

"""The agent on a board: trains a front with onnxruntime and NumPy, never torch.

Its names are loaded when they are first asked for: ``slfac doctor`` lives in this folder too,
and must work where a package that they need is missing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slfac.device.agent import DeviceResult, run_device
    from slfac.device.settings import DeviceSettings, device_settings

__all__ = ["DeviceResult", "DeviceSettings", "device_settings", "run_device"]

_HOMES = {
    "DeviceResult": "agent",
    "DeviceSettings": "settings",
    "device_settings": "settings",
    "run_device": "agent",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)

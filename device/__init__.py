"""The agent on a board: trains a front with onnxruntime and NumPy, never torch."""

from slfac.device.agent import DeviceResult, run_device
from slfac.device.settings import DeviceSettings, device_settings

__all__ = ["DeviceResult", "DeviceSettings", "device_settings", "run_device"]

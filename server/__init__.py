"""The PyTorch side: takes smashed data from devices, trains the back, returns gradients."""

from slfac.server.config import configured_settings
from slfac.server.result import DeviceResult, RoundResult, RunResult
from slfac.server.run import Server
from slfac.server.settings import ServerSettings, server_settings

__all__ = [
    "DeviceResult",
    "RoundResult",
    "RunResult",
    "Server",
    "ServerSettings",
    "configured_settings",
    "server_settings",
]

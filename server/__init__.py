"""The PyTorch side: takes smashed data from devices, trains the back, returns gradients.

What is named here is imported when it is first asked for: a command line that shows its help needs
no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
_HOMES = {
    "DeviceResult": "result",
    "RoundResult": "result",
    "RunResult": "result",
    "Server": "run",
    "ServerSettings": "settings",
    "configured_settings": "config",
    "server_settings": "settings",
}


def __getattr__(name: str) -> Any:
    """Import what is named here."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)

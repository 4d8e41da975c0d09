"""What runs on each host during a run: the server's command, and the devices'."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from slfac.server.config import split_codec
from slfac.testbed.hosts.deploy import Ready
from slfac.testbed.hosts.enroll import keys_folder
from slfac.testbed.inventory import DeviceHost, Inventory
from slfac.wire.errors import SettingsError

#: Folder of a run on each host, below the testbed's.
RUN_FOLDER: Final = "run"
#: What the server writes, below that.
OUT_FOLDER: Final = "out"
_SETTINGS_FILE: Final = "server.toml"
# Another try is of no use: settings, a missing package, data, keys, a server that is none.
_DEVICE_NEVER: Final = (2, 3, 10, 20, 32, 34, 40)
# A server that ends by itself has said why; one that was killed goes on.
_SERVER_NEVER: Final = tuple(range(1, 256))
_JOIN_S: Final = 600.0
# Threads that spin while they wait would take the cores of others.
_ENVIRONMENT: Final = {"OMP_WAIT_POLICY": "PASSIVE", "PYTHONUNBUFFERED": "1"}


@dataclass(frozen=True)
class Agent:
    """What a host is to run.

    Attributes:
        description: For :class:`~slfac.testbed.hosts.remote.supervise.Supervisor`.
        files: Files beside it, by their names.
    """

    description: dict[str, Any]
    files: dict[str, str]


def run_folder(ready: Ready) -> str:
    """Where a host keeps the run.

    Args:
        ready: The host.
    """
    return f"{ready.host.folder}/{RUN_FOLDER}"


def server_agent(ready: Ready, inventory: Inventory, *, bind: str, names: tuple[str, ...]) -> Agent:
    """What the server's host is to run.

    Args:
        ready: The host.
        inventory: The testbed.
        bind: Where the server is to listen.
        names: The devices' names.

    Raises:
        SettingsError: The inventory has no run.
    """
    folder = run_folder(ready)
    settings: dict[str, Any] = {
        "join_timeout_s": _JOIN_S,
        **split_codec(run_of(inventory).settings),
        "bundle": f"{ready.host.folder}/bundle",
        "keys": keys_folder(ready),
        "out": f"{folder}/{OUT_FOLDER}",
        "bind": bind,
        "devices": list(names),
    }
    if ready.data is not None:
        settings["data"] = ready.data
    command = [*ready.program, "server"]
    out = settings["out"]
    again = {
        "exists": f"{out}/checkpoint",
        "command": [*command, "--resume", out],
        "else_remove": out,
    }
    description = {
        "command": [*command, "--config", f"{folder}/{_SETTINGS_FILE}"],
        "again": again,
        "environment": _ENVIRONMENT,
        "never": _SERVER_NEVER,
    }
    return Agent(description, {_SETTINGS_FILE: toml_text(settings)})


def device_agent(ready: Ready, device: DeviceHost, *, server: str) -> Agent:
    """What a device's host is to run.

    Args:
        ready: The host.
        device: The device.
        server: ``tcp://HOST:PORT`` of the server.
    """
    folder = run_folder(ready)
    options = {
        "--server": server,
        "--keys": keys_folder(ready),
        "--data": ready.data,
        "--cache": f"{ready.host.folder}/cache",
        "--journal": f"{folder}/journal",
        "--provider": device.provider,
        "--threads": device.threads,
        "--connect-timeout-s": _JOIN_S,
    }
    if device.energy:
        options["--energy-report"] = f"{folder}/energy.json"
    words = [str(word) for pair in options.items() for word in pair]
    description = {
        "command": [*ready.program, "device", *words, *["--energy"] * device.energy],
        "again": None,
        "environment": _ENVIRONMENT,
        "never": _DEVICE_NEVER,
    }
    return Agent(description, {})


def run_of(inventory: Inventory) -> Any:
    """What an inventory says is to be trained.

    Args:
        inventory: The inventory.

    Raises:
        SettingsError: It says nothing.
    """
    if inventory.run is None:
        raise SettingsError(
            f"{inventory.file}: there is no `run`", "say what to train: docs/testbed.md"
        )
    return inventory.run


def toml_text(values: Mapping[str, Any]) -> str:
    """Settings as a TOML file.

    Args:
        values: By their names; texts, numbers, lists and mappings of them.
    """
    lines = [f"{name} = {_toml(value)}" for name, value in values.items() if value is not None]
    return "\n".join([*lines, ""])


def _toml(value: Any) -> str:
    """A value in TOML, whose lists and numbers are those of JSON."""
    if isinstance(value, Mapping):
        inner = (f"{_text(str(name))} = {_toml(item)}" for name, item in value.items())
        return "{ " + ", ".join(inner) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, float) and math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return _text(value) if isinstance(value, str) else json.dumps(value)


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")

"""An inventory of hosts as Ansible reads it."""

from __future__ import annotations

import shlex
from typing import Any

import yaml

from slfac.testbed.inventory.hosts import AnyHost
from slfac.testbed.inventory.model import Inventory
from slfac.wire.errors import SettingsError


def ansible_inventory(inventory: Inventory) -> str:
    """An inventory for Ansible, in YAML: groups ``slfac_server`` and ``slfac_devices``.

    Ansible's own names have the connection; ``slfac_work``, ``slfac_board`` and ``slfac_data``
    are variables for plays.

    Args:
        inventory: The inventory.

    Returns:
        The text of the file.

    Raises:
        SettingsError: A host has no address.
    """
    server = {"server": _host(inventory, inventory.server, inventory.server.host, "server")}
    devices: dict[str, Any] = {}
    for number, device in enumerate(inventory.devices):
        entry = _host(inventory, device, device.host, f"devices[{number}]")
        entry["slfac_data"] = device.data
        if device.board is not None:
            entry["slfac_board"] = device.board
        devices[device.name] = entry
    groups = {"slfac_server": {"hosts": server}, "slfac_devices": {"hosts": devices}}
    text: str = yaml.safe_dump({"all": {"children": groups}}, sort_keys=False)
    return text


def _host(inventory: Inventory, host: AnyHost, address: str | None, where: str) -> dict[str, Any]:
    if address is None:
        raise SettingsError(
            f"{inventory.file}: {where}.host is missing", "give the address that SSH reaches"
        )
    entry: dict[str, Any] = {"ansible_host": address, "ansible_port": host.port}
    if host.user is not None:
        entry["ansible_user"] = host.user
    if host.key is not None:
        entry["ansible_ssh_private_key_file"] = str(host.key.absolute())
    entry["ansible_python_interpreter"] = host.python
    known = inventory.known_hosts.absolute()
    options = ("-o", f"UserKnownHostsFile={known}", "-o", "StrictHostKeyChecking=yes")
    entry["ansible_ssh_common_args"] = shlex.join(options)
    entry["slfac_work"] = host.work
    return entry

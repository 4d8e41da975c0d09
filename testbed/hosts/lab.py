"""A testbed that commands work on: its hosts, and where its devices find the server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slfac.testbed.hosts.deploy import Ready
from slfac.testbed.hosts.targets import SERVER, Target, server_endpoint, targets_of
from slfac.testbed.inventory import Inventory
from slfac.wire.errors import SlfacError

if TYPE_CHECKING:
    from slfac.testbed.emulate.lan import Lan


@dataclass(frozen=True)
class Lab:
    """A testbed.

    Attributes:
        inventory: What it is.
        targets: Its hosts, the server's first.
        bind: Where the server listens.
        endpoints: Where each device finds it, by the device's name.
        lan: The emulated LAN; None for real hosts.
        remarks: What it cannot do.
    """

    inventory: Inventory
    targets: Sequence[Target]
    bind: str
    endpoints: Mapping[str, str]
    lan: Lan | None = None
    remarks: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """Names of all hosts."""
        return [target.name for target in self.targets]


@dataclass(frozen=True)
class Members:
    """Hosts that can be used.

    Attributes:
        server: The server's.
        devices: The devices', in their order.
    """

    server: Ready
    devices: tuple[Ready, ...]

    @property
    def all(self) -> tuple[Ready, ...]:
        """The server's host, then the devices'."""
        return (self.server, *self.devices)


def real_lab(inventory: Inventory) -> Lab:
    """The testbed of real hosts that an inventory describes.

    Args:
        inventory: The inventory.

    Raises:
        SettingsError: A host has no address, or devices cannot reach the server's.
    """
    endpoint = server_endpoint(inventory)
    # The star stands for all addresses of both kinds, where there are both.
    where = "*" if endpoint.startswith("tcp://[") else "0.0.0.0"  # noqa: S104 - devices come
    return Lab(
        inventory,
        targets_of(inventory),
        f"tcp://{where}:{inventory.server.listen}",
        {device.name: endpoint for device in inventory.devices},
    )


def failure(lab: Lab, errors: Mapping[str, SlfacError]) -> SlfacError:
    """One error for all that failed, each of which was told already.

    Args:
        lab: The testbed.
        errors: What failed, by host.
    """
    first = errors.get(SERVER) or next(iter(errors.values()))
    if len(errors) == 1:
        return first
    names = ", ".join(errors)
    what = f"{len(errors)} of {len(lab.targets)} hosts cannot be used: {names}"
    return type(first)(what, "the lines above say why")

"""What only the server's sockets know, for those that show a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from slfac.server.transport import Transport


@dataclass(frozen=True)
class Links:
    """Counts of the sockets at one moment.

    Attributes:
        bytes_up: Bytes received since the run began, by device.
        bytes_down: Bytes sent.
        connected: Devices that have a connection now.
        refused_keys: Connections refused for their key.
        refused: Messages that were refused, by cause.
    """

    bytes_up: dict[str, int] = field(default_factory=dict)
    bytes_down: dict[str, int] = field(default_factory=dict)
    connected: frozenset[str] = frozenset()
    refused_keys: int = 0
    refused: dict[str, int] = field(default_factory=dict)


ReadLinks = Callable[[], Links]


def links_of(service: Transport, names: tuple[str, ...]) -> Links:
    """Read a service's counts; any thread may.

    Args:
        service: Carries requests and answers.
        names: The run's devices.
    """
    traffic = {name: service.traffic(name) for name in names}
    return Links(
        bytes_up={name: entry.up.bytes for name, entry in traffic.items()},
        bytes_down={name: entry.down.bytes for name, entry in traffic.items()},
        connected=service.connected,
        refused_keys=sum(service.refused_keys().values()),
        refused=service.refusals.counts(),
    )

"""What an emulated LAN is to be like, as it is told to the process that makes it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slfac.testbed.inventory import Inventory

SERVER = "server"
CONTROL = "control"


@dataclass(frozen=True, kw_only=True)
class PlannedLink:
    """A device and its link.

    Attributes:
        device: The device's name.
        up_bit_per_s: Rate from it; None for no limit.
        down_bit_per_s: Rate to it.
        delay_s: Delay one way.
        jitter_s: How far the delay varies to either side.
        loss: Share of packets that get lost.
        queue_s: How long a packet may wait for the link.
        cuts: When the link is cut after the start of the run, and for how long, in seconds.
    """

    device: str
    up_bit_per_s: float | None
    down_bit_per_s: float | None
    delay_s: float
    jitter_s: float
    loss: float
    queue_s: float
    cuts: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, kw_only=True)
class LanPlan:
    """A LAN.

    Attributes:
        name: Its name; one of a name can be up at a time.
        links: Its devices.
        listen: Port at which the server is to listen.
        shaper: ``auto``, ``tap``, ``kernel`` or ``relay``.
        congestion: TCP's congestion control, ``auto`` or ``inherit``.
        seed: Seed of loss and jitter.
        made_by: The command that made it for itself alone, such as ``slfac experiment run``;
            empty for the hosts of an inventory.
    """

    name: str
    links: tuple[PlannedLink, ...]
    listen: int = 5555
    shaper: str = "auto"
    congestion: str = "auto"
    seed: int = 0
    made_by: str = ""

    def to_json(self) -> str:
        """The plan as one line."""
        return json.dumps(asdict(self))


def plan_from_json(text: str) -> LanPlan:
    """The plan that :meth:`LanPlan.to_json` wrote.

    Args:
        text: One line.
    """
    values: dict[str, Any] = json.loads(text)
    links = tuple(
        PlannedLink(**{**link, "cuts": tuple((at, lasts) for at, lasts in link["cuts"])})
        for link in values.pop("links")
    )
    return LanPlan(**values, links=links)


def plan_of(inventory: Inventory) -> LanPlan:
    """The LAN that an inventory describes.

    Args:
        inventory: The inventory.
    """
    links = []
    for device in inventory.devices:
        link = inventory.link(device.name)
        up, down = link.rate or (None, None)
        links.append(
            PlannedLink(
                device=device.name,
                up_bit_per_s=up,
                down_bit_per_s=down,
                delay_s=link.delay_s,
                jitter_s=link.jitter_s,
                loss=link.loss,
                queue_s=link.queue_s,
                cuts=tuple((cut.at_s, cut.for_s) for cut in link.cuts),
            )
        )
    return LanPlan(
        name=inventory.name,
        links=tuple(links),
        listen=inventory.server.listen,
        shaper=inventory.emulate.shaper,
        congestion=inventory.emulate.congestion,
        seed=inventory.emulate.seed,
    )

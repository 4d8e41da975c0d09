"""A server's part in a run whose devices are simulated in its own process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path

from slfac.data import open_dataset
from slfac.server.accelerator import choose_device
from slfac.server.protocol import RunFacts
from slfac.server.seat import Seat
from slfac.server.settings import ServerSettings
from slfac.testbed.simulate.device import Place, live
from slfac.testbed.simulate.engine import share
from slfac.testbed.simulate.memory import MemoryTransport
from slfac.testbed.simulate.stage import Actor, Stage
from slfac.wire.meter import Traffic

_DATASETS_HELD = 2


class SimulationSeat(Seat):
    """Serves devices that live in this process.

    Args:
        settings: What the server is to do.
        data: Data set of each device, by index; the last one serves all further ones.

    Raises:
        SettingsError: There is nothing to go on with.
    """

    simulated = True

    def __init__(self, settings: ServerSettings, data: Sequence[Path]) -> None:
        super().__init__(settings)
        self._data = tuple(data)

    def transport(
        self, facts: RunFacts, *, max_request_bytes: int, traffic: Mapping[str, Traffic] | None
    ) -> MemoryTransport:
        """Make the devices, and the network between them and the server."""
        settings = self.settings
        device = choose_device(settings.torch_device)
        shared = share(facts.bundle, settings.allow_factories, settings.codec_up, device)
        actors: list[Actor] = []
        stage = Stage(actors)
        transport = MemoryTransport(
            facts,
            max_request_bytes=max_request_bytes,
            traffic=traffic,
            play=stage.play,
            end=stage.close,
        )
        place = Place(
            shared=shared,
            transport=transport,
            data=self._data,
            # Devices that share a data set share its memory while they take their parts.
            read=lru_cache(_DATASETS_HELD)(open_dataset),
            journals=settings.out / "journal",
        )
        names = facts.roster.names
        actors += [Actor(name, partial(live, place, index)) for index, name in enumerate(names)]
        return transport

"""A server's part in a run whose devices are simulated in its own process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path

from slfac.data import open_dataset
from slfac.server.accelerator import choose_device
from slfac.server.evaluate import Evaluator
from slfac.server.protocol import RunFacts
from slfac.server.seat import Seat
from slfac.server.settings import ServerSettings
from slfac.testbed.simulate.device import Place, live
from slfac.testbed.simulate.engine import Shared, share
from slfac.testbed.simulate.evaluate import TorchEvaluator
from slfac.testbed.simulate.memory import MemoryTransport
from slfac.testbed.simulate.resume import Unkept, common_checkpoint, journals_of
from slfac.testbed.simulate.stage import Actor, Stage
from slfac.wire.bundle import Bundle
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
        if self.resumed is not None:
            self.resumed = common_checkpoint(settings, self.resumed)
        self._data = tuple(data)
        self._shared: Shared | None = None

    def transport(
        self, facts: RunFacts, *, max_request_bytes: int, traffic: Mapping[str, Traffic] | None
    ) -> MemoryTransport:
        """Make the devices, and the network between them and the server."""
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
            shared=self._share(facts.bundle),
            transport=transport,
            data=self._data,
            # Devices that share a data set share its memory while they take their parts.
            read=lru_cache(_DATASETS_HELD)(open_dataset),
            journals=journals_of(self.settings),
        )
        names = facts.roster.names
        actors += [Actor(name, partial(live, place, index)) for index, name in enumerate(names)]
        return transport

    def kept(self) -> Unkept:
        """Nowhere: see :class:`Unkept`."""
        return Unkept(self.settings.out)

    def evaluator(self, bundle: Bundle) -> Evaluator | None:
        """Scores fronts; None where nothing is to be evaluated."""
        data = self.settings.data
        return TorchEvaluator(self._share(bundle), data) if data is not None else None

    def _share(self, bundle: Bundle) -> Shared:
        if self._shared is None:
            settings = self.settings
            device = choose_device(settings.torch_device)
            self._shared = share(bundle, settings.allow_factories, settings.codec_up, device)
        return self._shared

"""What a simulated device does in a run: the code of a board, with another engine and network."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnxruntime

from slfac.data import Dataset
from slfac.device.journal import Journal
from slfac.device.link import Link
from slfac.device.memory import peak_rss_bytes
from slfac.device.samples import Samples
from slfac.device.stay import Stay
from slfac.testbed.simulate.engine import Shared, TorchEngine
from slfac.testbed.simulate.memory import MemoryNetwork, MemoryTransport
from slfac.testbed.simulate.stage import Actor
from slfac.wire.errors import RunError, SlfacError
from slfac.wire.messages import Summary, Timings, Welcome

# As a device's own bound of a bundle.
_MAX_BUNDLE_BYTES = 256 << 20


@dataclass(frozen=True)
class Place:
    """Where simulated devices live.

    Attributes:
        shared: What all of them have in common.
        transport: Their server's end of the network.
        data: Data set of each, by index; the last one serves all further ones.
        read: Opens a data set.
        journals: Folder of their journals.
    """

    shared: Shared
    transport: MemoryTransport
    data: tuple[Path, ...]
    read: Callable[..., Dataset]
    journals: Path


def live(place: Place, index: int, actor: Actor) -> None:
    """Take part in a run until the server says stop.

    Args:
        place: Where this device lives.
        index: Its index.
        actor: Its turn.

    Raises:
        RunError: It failed; the message says which device, and why.
    """
    try:
        _Life(place, index, actor).run()
    except SlfacError as error:
        raise RunError(f"{actor.name} failed: {error.what}", error.remedy) from error


class _Life:
    def __init__(self, place: Place, index: int, actor: Actor) -> None:
        self._place = place
        self._index = index
        self._actor = actor
        self._samples = 0
        network = MemoryNetwork(place.transport, actor.name, actor)
        self._link = Link(network, name=actor.name, bundle_id="", on_status=_silent)

    def run(self) -> None:
        """Join, train, leave."""
        try:
            welcome = self._link.join()
            # A real device fetches it; this one only counts what that takes.
            self._link.request("bundle", max_reply_bytes=_MAX_BUNDLE_BYTES)
            last = self._train(self._stay(welcome))
            self._link.bye(finished=True, timings=last, summary=self._summary())
        finally:
            self._link.close()

    def _stay(self, welcome: Welcome) -> Stay:
        place, bundle = self._place, self._place.shared.bundle
        data = place.data[min(self._index, len(place.data) - 1)]
        samples = Samples(
            data,
            manifest=bundle.manifest,
            plan=welcome.plan,
            index=welcome.index,
            devices=welcome.devices,
            read=place.read,
        )
        self._samples = len(samples)
        engine = self._actor.run(lambda: TorchEngine(place.shared, self._actor, self._index))
        journal = Journal(
            place.journals, welcome.run, welcome.device, bundle.id, welcome.plan.optimizer
        )
        return Stay(
            self._link,
            welcome,
            bundle,
            samples=samples,
            engine=engine,
            journal=journal,
            on_status=_silent,
        )

    @staticmethod
    def _train(stay: Stay) -> Timings:
        last = Timings()
        going = stay.enter()
        while going:
            for _ in range(stay.steps_per_round):
                _, last = stay.step(last)
            going = stay.finish_round(last)
            last = Timings()
        return last

    def _summary(self) -> Summary:
        return Summary(
            torch_imported=True,
            peak_rss_bytes=peak_rss_bytes(),
            sent_bytes=self._link.sent.bytes,
            received_bytes=self._link.received.bytes,
            python=platform.python_version(),
            onnxruntime=onnxruntime.__version__,
            machine=platform.machine(),
            samples=self._samples,
            provider=str(self._place.shared.device),
        )


def _silent(line: str) -> None:
    del line

"""The agent: joins a run, trains the front step by step, and leaves."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnxruntime

from slfac.device.bundles import get_bundle
from slfac.device.caller import Patience
from slfac.device.discovery import Discovered
from slfac.device.engine import OnnxEngine
from slfac.device.front import Front
from slfac.device.guard import foreign_modules
from slfac.device.head import Head
from slfac.device.journal import Journal
from slfac.device.link import Link, SessionLost
from slfac.device.memory import peak_rss_bytes
from slfac.device.network import Sockets
from slfac.device.provider import open_front
from slfac.device.routes import Fixed
from slfac.device.samples import Samples
from slfac.device.settings import DeviceSettings
from slfac.device.stay import Stay
from slfac.wire.bundle import Bundle, open_bundle
from slfac.wire.errors import LinkError
from slfac.wire.keys import device_keys
from slfac.wire.messages import Energy, Summary, Timings, Welcome
from slfac.wire.providers import CUDA
from slfac.wire.runtime import require_provider

if TYPE_CHECKING:
    from slfac.device.energy.host import Host
    from slfac.device.energy.outcome import RunEnergy
    from slfac.device.measuring import Measuring

Status = Callable[[str], None]
Alive = Callable[[], None]


@dataclass(frozen=True)
class DeviceResult:
    """What a device did in a run.

    Attributes:
        name: Name under which the server knows it.
        rounds: Rounds it finished.
        steps: Steps it made.
        samples: Samples it holds.
        losses: Mean loss of each of its steps.
        sent_bytes: Bytes handed to its socket, every frame counted.
        received_bytes: Bytes its socket handed back.
        peak_rss_bytes: Highest resident memory of its process.
        torch_imported: Whether torch was found in its process.
        energy: What it has spent; None where nobody asked for that.
    """

    name: str
    rounds: int
    steps: int
    samples: int
    losses: tuple[float, ...]
    sent_bytes: int
    received_bytes: int
    peak_rss_bytes: int
    torch_imported: bool
    energy: RunEnergy | None = None


def run_device(
    settings: DeviceSettings,
    on_status: Status | None = None,
    on_alive: Alive | None = None,
    *,
    host: Host | None = None,
) -> DeviceResult:
    """Take part in a run until the server says stop.

    Args:
        settings: What to do.
        on_status: Called with a line for people whenever something happens.
        on_alive: Called at each step, and again and again while the agent waits.
        host: Where power sensors are looked for; None for this machine.

    Returns:
        What was done.

    Raises:
        SlfacError: A branch of it, which says what is wrong and what to do.
    """
    agent = _Agent(settings, on_status or _silent, on_alive or _idle, host)
    try:
        return agent.run()
    finally:
        agent.close()


def _silent(line: str) -> None:
    del line


def _idle() -> None:
    """Told that the agent is alive, where nobody wants to know."""


class _Agent:
    def __init__(
        self, settings: DeviceSettings, on_status: Status, on_alive: Alive, host: Host | None
    ) -> None:
        self._settings = settings
        self._on_status = on_status
        self._on_alive = on_alive
        if settings.provider == CUDA.label:
            # Better now than when the server has let this device in.
            require_provider(CUDA)
        self._held = open_bundle(settings.bundle, "device") if settings.bundle is not None else None
        keys = device_keys(settings.keys) if settings.keys is not None else None
        address = settings.server
        where = Fixed(address) if address is not None else Discovered(keys, on_status, on_alive)
        # Before anything is opened that would have to be closed.
        self._measuring = _measuring(settings, on_status, host)
        self._link = Link(
            Sockets(
                where=where,
                keys=keys,
                patience=Patience(
                    connect_s=settings.connect_timeout_s,
                    reconnect_s=settings.reconnect_timeout_s,
                    enrolled_s=settings.wait_enrolled_s,
                ),
                on_status=on_status,
                on_alive=on_alive,
            ),
            name=settings.name,
            bundle_id=self._held.id if self._held is not None else "",
            on_status=on_status,
        )
        self._provider = ""
        self._head: Head | None = None
        self._finished = False
        self._last = Timings()
        self._losses: list[float] = []
        self._rounds: set[int] = set()
        self._begun: dict[int, int] = {}
        self._samples_held = 0

    def run(self) -> DeviceResult:
        welcome = self._link.join()
        bundle = self._bundle(welcome)
        settings = self._settings
        front = open_front(
            bundle,
            threads=settings.threads,
            low_memory=settings.low_memory,
            provider=settings.provider,
            on_status=self._on_status,
        )
        self._provider = front.provider.label
        self._head = self._open_head(bundle, front)
        samples = self._samples(welcome, bundle)
        while not self._finished:
            try:
                self._train(self._stay(welcome, bundle, samples, front))
            except SessionLost:
                self._on_status("the server forgot this session; joining again")
                before, welcome = welcome.run, self._rejoin(bundle)
                if welcome.run != before:
                    # Another run may share the data out differently.
                    samples = self._samples(welcome, bundle)
        energy = self._measuring.finish(welcome) if self._measuring is not None else None
        return self._result(welcome, energy)

    def close(self) -> None:
        energy: tuple[Energy, ...] = ()
        if self._measuring is not None:
            self._measuring.watch.close()
            energy = self._measuring.watch.told()
        summary = self._summary()
        self._link.bye(finished=self._finished, timings=self._last, summary=summary, energy=energy)
        self._link.close()

    def _stay(self, welcome: Welcome, bundle: Bundle, samples: Samples, front: Front) -> Stay:
        journal = Journal(
            self._settings.journal,
            welcome.run,
            welcome.device,
            bundle.id,
            welcome.plan.optimizer,
        )
        journal.clear_old()
        return Stay(
            self._link,
            welcome,
            bundle,
            samples=samples,
            engine=OnnxEngine(front, self._head),
            journal=journal,
            energy=self._measuring.watch if self._measuring is not None else None,
            on_status=self._on_status,
        )

    def _open_head(self, bundle: Bundle, front: Front) -> Head | None:
        if not bundle.manifest.head:
            return None
        settings = self._settings
        return Head(
            bundle,
            threads=settings.threads,
            low_memory=settings.low_memory,
            provider=front.provider,
        )

    def _bundle(self, welcome: Welcome) -> Bundle:
        return get_bundle(
            self._held,
            welcome.bundle,
            cache=self._settings.cache,
            link=self._link,
            on_status=self._on_status,
        )

    def _samples(self, welcome: Welcome, bundle: Bundle) -> Samples:
        samples = Samples(
            self._settings.data,
            manifest=bundle.manifest,
            plan=welcome.plan,
            index=welcome.index,
            devices=welcome.devices,
        )
        self._samples_held = len(samples)
        self._on_status(
            f"connected to run {welcome.run} as {welcome.device} "
            f"({welcome.index + 1} of {welcome.devices}), {len(samples)} samples; "
            "waiting to be let in"
        )
        return samples

    def _rejoin(self, bundle: Bundle) -> Welcome:
        welcome = self._link.join()
        if welcome.bundle != bundle.id:
            raise LinkError("the server trains another bundle now", "start this device again")
        return welcome

    def _train(self, stay: Stay) -> None:
        going = stay.enter()
        if going:
            self._on_status(f"training from round {stay.round + 1} of {stay.rounds}")
        while going:
            # Steps that are made again count once.
            del self._losses[self._begun.setdefault(stay.round, len(self._losses)) :]
            for _ in range(stay.steps_per_round):
                loss, self._last = stay.step(self._last)
                self._on_alive()
                self._losses.append(loss)
            recent = self._losses[-stay.steps_per_round :]
            mean = sum(recent) / len(recent)
            done = stay.round + 1
            going = stay.finish_round(self._last)
            self._last = Timings()
            self._rounds.add(done)
            spent = self._measuring.last_round() if self._measuring is not None else ""
            self._on_status(f"round {done} of {stay.rounds}: training loss {mean:.4f}{spent}")
        self._finished = True

    def _summary(self) -> Summary:
        self._link.settle()
        return Summary(
            torch_imported="torch" in foreign_modules(),
            peak_rss_bytes=peak_rss_bytes(),
            sent_bytes=self._link.sent.bytes,
            received_bytes=self._link.received.bytes,
            python=platform.python_version(),
            onnxruntime=onnxruntime.__version__,
            machine=platform.machine(),
            samples=self._samples_held,
            provider=self._provider,
        )

    def _result(self, welcome: Welcome, energy: RunEnergy | None) -> DeviceResult:
        summary = self._summary()
        return DeviceResult(
            name=welcome.device,
            rounds=len(self._rounds),
            steps=len(self._losses),
            samples=summary.samples,
            losses=tuple(self._losses),
            sent_bytes=summary.sent_bytes,
            received_bytes=summary.received_bytes,
            peak_rss_bytes=summary.peak_rss_bytes,
            torch_imported=summary.torch_imported,
            energy=energy,
        )


def _measuring(settings: DeviceSettings, on_status: Status, host: Host | None) -> Measuring | None:
    """What measures energy, which is imported only where somebody asks for it."""
    if not settings.energy:
        return None
    from slfac.device.measuring import Measuring  # noqa: PLC0415

    return Measuring(settings, on_status, host)

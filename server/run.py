"""A server from its settings to its result."""

from __future__ import annotations

import contextlib
import platform
import uuid
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

import torch

from slfac import __version__
from slfac.server.accelerator import choose_device, choose_precision
from slfac.server.announce import announced
from slfac.server.back import BackHalf
from slfac.server.best import make_watch
from slfac.server.exchange import largest_request_bytes
from slfac.server.limits import raise_open_files
from slfac.server.live.links import links_of
from slfac.server.live.live import Live, Shown
from slfac.server.metrics import Listener, Metrics
from slfac.server.modes.factory import make_mode
from slfac.server.overlap import choose_micro_batches
from slfac.server.protocol import RunFacts
from slfac.server.result import DeviceResult, RunResult
from slfac.server.resume import Checkpoint, Standing, has_ended
from slfac.server.revision import source_revision
from slfac.server.roster import Roster, make_roster
from slfac.server.seat import Seat
from slfac.server.settings import ServerSettings
from slfac.server.trainer import Trainer
from slfac.wire.bundle import Bundle, open_bundle
from slfac.wire.discovery import require_zeroconf
from slfac.wire.errors import SettingsError, SlfacError
from slfac.wire.keys import AllowList, server_keys
from slfac.wire.sockets import HEARTBEAT_MS

# Far apart, so that no two runs' ranks share a seed by accident.
_RANK_SEED = 1_000_000_007


class Server:
    """A server that is bound and lets devices in; :meth:`run` trains to the end.

    ::

        with Server(server_settings(bundle=..., out=..., keys=...)) as server:
            print(server.address)
            result = server.run()

    Args:
        settings: What to do.
        listener: Called with every metrics event, on the thread of :meth:`run`.
        seat: Its part in the run; by default it serves all devices, over sockets.

    Attributes:
        address: Where it listens, port included.
        places: Where the run can be watched: URLs of ``page`` and ``prometheus``, and the
            folder of ``tensorboard``, as far as the settings ask for them.

    Raises:
        SlfacError: A branch of it: the bundle, the data, the keys, the address or the device
            for torch cannot be used, or a package is missing.
    """

    def __init__(
        self,
        settings: ServerSettings,
        listener: Listener | None = None,
        seat: Seat | None = None,
    ) -> None:
        self._seat = seat or Seat(settings)
        self._settings = settings = self._seat.settings
        self._listener = listener
        raise_open_files()
        if settings.announce:
            require_zeroconf()
        device = choose_device(settings.torch_device)
        if settings.threads:
            torch.set_num_threads(settings.threads)
        peers = self._seat.peers
        # Replicas draw masks for different samples.
        torch.manual_seed(settings.seed + _RANK_SEED * peers.rank)
        bundle = open_bundle(settings.bundle)
        self._resumed = self._seat.resumed
        standing = self._resumed.standing if self._resumed else None
        _check_bundle(settings, bundle, standing)
        enrolled = AllowList(settings.keys).names() if settings.keys is not None else None
        roster = Roster(standing.names) if standing else make_roster(settings.devices, enrolled)
        self._revoked = roster.outside(enrolled)
        if self._resumed is not None:
            self._resumed = self._resumed.without(self._revoked)
        precision = choose_precision(settings.precision, device)
        self._back = BackHalf(
            bundle, settings.optimizer, settings.allow_factories, device, precision, peers=peers
        )
        micro_batches = choose_micro_batches(settings, bundle.manifest, self._back.module)
        self._facts = RunFacts(
            boot=uuid.uuid4().hex,
            run=self._seat.run,
            bundle=bundle,
            plan=settings.plan(micro_batches),
            roster=roster,
            grace_s=settings.grace_s,
        )
        self._evaluator = self._seat.evaluator(bundle)
        self._watch = make_watch(bundle.manifest, settings.best_by, settings.early_stop)
        if self._resumed is not None:
            self._resumed.restore_back(self._back)
        self._mode = make_mode(settings.mode, self._back, settings.seed)
        self._service = self._seat.transport(
            self._facts,
            max_request_bytes=largest_request_bytes(bundle.manifest, settings.batch_size),
            traffic=standing.traffic if standing else None,
        )
        self._had_ended = self._resumed is not None and has_ended(settings.out)
        self.address = self._service.address
        self._open(standing)
        self.places = self._live.places
        self._announcement = contextlib.ExitStack()

    def _open(self, standing: Standing | None) -> None:
        """Open what shows and records the run; where one of it fails, nothing stays open."""
        facts, seat = self._facts, self._seat
        with contextlib.ExitStack() as undo:
            undo.callback(self._service.close)
            facts.elsewhere.update(seat.elsewhere(facts.bundle, facts.roster.names, self.address))
            self._live = self._make_live(standing)
            undo.callback(self._live.close)
            self._metrics = Metrics(self._settings.out, self._tell, keep_bytes=seat.keep_bytes)
            undo.callback(self._metrics.close)
            self._live.start()
            undo.pop_all()

    def __enter__(self) -> Server:
        self._service.start()
        try:
            self._announcement.enter_context(self._announced())
        except BaseException as error:
            self._close(None, error)
            raise
        return self

    def _announced(self) -> AbstractContextManager[None]:
        settings = self._settings
        if not settings.announce:
            return contextlib.nullcontext()
        key = server_keys(settings.keys).public if settings.keys is not None else None
        return announced(self.address, run=self._facts.run, key=key)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close(self._seat.farewell(error), error)

    def _close(self, farewell: tuple[str, str] | None, error: BaseException | None) -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(self._live.close, _failure(error))
            stack.enter_context(contextlib.closing(self._metrics))
            stack.enter_context(self._announcement)
            self._service.close(farewell)

    def run(self) -> RunResult:
        """Train all rounds.

        Returns:
            The run's result.

        Raises:
            TrainingError: Training diverged, no devices are left, or too few came.
        """
        if self._resumed is None:
            self._metrics.write("run", **self._facts_for_metrics())
        else:
            self._metrics.write("restarted", **self._facts_of(self._resumed))
        if self.places:
            self._metrics.write("live", **self.places)
        trainer = Trainer(
            settings=self._settings,
            facts=self._facts,
            service=self._service,
            mode=self._mode,
            evaluator=self._evaluator,
            watch=self._watch,
            metrics=self._metrics,
            resumed=self._resumed,
            kept=self._seat.kept(),
        )
        trainer.run()
        # Until all devices of all ranks are seen off, it may still have to be started again.
        self._seat.peers.share()
        result = self._result(trainer)
        for device in result.devices:
            self._metrics.write("device", **device.as_event())
        self._metrics.write(
            "end",
            run=result.run,
            seconds=result.seconds,
            stopped_early=result.stopped_early,
            refused_keys=result.refused_keys,
            refused=result.refused,
            repeated=self._service.repeated,
        )
        return result

    def _make_live(self, standing: Standing | None) -> Live:
        settings, names = self._settings, self._facts.roster.names
        return Live(
            Shown(
                page=settings.page,
                prometheus=settings.prometheus,
                tensorboard=settings.out / "tensorboard" if settings.tensorboard else None,
            ),
            facts=self._facts_for_metrics(),
            standing=standing,
            read_links=lambda: links_of(self._service, names),
        )

    def _tell(self, event: dict[str, Any]) -> None:
        self._live.listen(event)
        if self._listener is not None:
            self._listener(event)

    def _facts_for_metrics(self) -> dict[str, Any]:
        settings, manifest = self._settings, self._facts.bundle.manifest
        return {
            "run": self._facts.run,
            "address": self.address,
            "simulated": self._seat.simulated,
            "slfac": __version__,
            "revision": source_revision(),
            "torch": torch.__version__,
            "python": platform.python_version(),
            "machine": platform.machine(),
            "threads": torch.get_num_threads(),
            "torch_device": str(self._back.device),
            "precision": str(self._back.precision).removeprefix("torch."),
            "bundle": self._facts.bundle.id,
            "model": manifest.model,
            "cut": manifest.cut,
            "mode": self._mode.kind.name,
            "devices": [self._facts.roster.names[index] for index in self._facts.served],
            "rank": self._seat.peers.rank,
            "ranks": self._seat.peers.world,
            "test_samples": len(self._evaluator) if self._evaluator else None,
            "micro_batches": self._facts.plan.micro_batches,
            "settings": settings.model_dump(mode="json"),
        }

    def _facts_of(self, resumed: Checkpoint) -> dict[str, Any]:
        names, standing = self._facts.roster.names, resumed.standing
        return {
            "run": self._facts.run,
            "address": self.address,
            "checkpoint": resumed.path.name,
            "round": len(standing.rounds),
            "rounds": self._settings.rounds,
            "missing": [names[index] for index in standing.members],
            "wait_s": self._settings.idle_timeout_s,
            "ended": self._had_ended,
            "revoked": [names[index] for index in self._revoked],
        }

    def _result(self, trainer: Trainer) -> RunResult:
        rounds = tuple(trainer.rounds)
        devices = []
        for index in self._facts.served:
            name = self._facts.roster.names[index]
            traffic = self._service.traffic(name)
            wire_up, wire_down = traffic.wire_bytes(HEARTBEAT_MS / 1e3)
            devices.append(
                DeviceResult(
                    name=name,
                    totals=trainer.ledger.totals[name],
                    bytes_up=traffic.up.bytes,
                    bytes_down=traffic.down.bytes,
                    wire_bytes_up=wire_up,
                    wire_bytes_down=wire_down,
                    summary=trainer.summaries.get(index),
                    refused=self._service.refusals.counts(name),
                )
            )
        return RunResult(
            run=self._facts.run,
            rounds=rounds,
            devices=tuple(devices),
            front=trainer.front,
            checkpoint=trainer.checkpoint,
            best=self._watch.best,
            stopped_early=len(rounds) < self._settings.rounds,
            seconds=sum(entry.seconds for entry in rounds),
            refused_keys=sum(self._service.refused_keys().values()),
            refused=self._service.refusals.counts(),
        )


def _failure(error: BaseException | None) -> str:
    """What the page says of an error that ended the run."""
    if error is None:
        return ""
    return str(error) if isinstance(error, SlfacError) else "the server was stopped"


def _check_bundle(settings: ServerSettings, bundle: Bundle, standing: Standing | None) -> None:
    if standing is not None and standing.bundle != bundle.id:
        raise SettingsError(
            f"setting bundle is {str(settings.bundle)!r}, bundle {bundle.id[:12]}, and the "
            f"run in {settings.out} trains {standing.bundle[:12]}",
            "give --bundle the folder of that one",
        )

"""The backend of experiments whose runs are simulated, each in a process of its own."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Generator
from typing import Any

from slfac.server.modes.kinds import ASYNCHRONOUS, parse_mode
from slfac.testbed.experiment.backend import Event, ResolvedRun
from slfac.testbed.experiment.settings import RunSettings
from slfac.testbed.follow import Follower
from slfac.testbed.local import METRICS_NAME
from slfac.testbed.supervisor import Supervisor
from slfac.wire.errors import RunError, SettingsError


class Simulated:
    """Runs ``slfac simulate``; see :class:`slfac.testbed.experiment.backend.Backend`."""

    name = "simulated"

    def check(self, settings: RunSettings) -> None:
        """Refuse what depends on links, sensors, or the time that devices take.

        Args:
            settings: The run's settings.

        Raises:
            SettingsError: It does.
        """
        if settings.link:
            raise SettingsError(
                f"setting link is {settings.link[0]!r}, and a simulation has no links",
                "leave out --simulate, or the links of all runs: --set link=",
            )
        if settings.energy:
            raise SettingsError(
                "setting energy is true, and simulated devices have no sensors",
                "leave out --simulate, or energy",
            )
        if parse_mode(settings.mode).kind is ASYNCHRONOUS:
            raise SettingsError(
                f"setting mode is {settings.mode!r}, whose order depends on time",
                "leave out --simulate, or use another mode",
            )

    def place(self, settings: RunSettings) -> dict[str, Any]:  # noqa: ARG002 - as in Backend
        """Nothing: settings and machine say it all.

        Args:
            settings: The run's settings.
        """
        return {}

    def steps(
        self, run: ResolvedRun, on_event: Callable[[Event], None]
    ) -> Generator[None, None, list[Event]]:
        """Carry out a run.

        Args:
            run: The run.
            on_event: Called with each metrics event as it happens.

        Yields:
            Nothing, some times a second.

        Returns:
            All metrics events.

        Raises:
            RunError: It failed; the message holds its last line.
        """
        for part in (METRICS_NAME, "checkpoint", "journal"):
            _remove(run, part)
        logs = run.out / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        follower, events = Follower(run.out / METRICS_NAME), []
        with Supervisor() as supervisor:
            child = supervisor.start("simulation", _command(run), logs / "simulation.log", {})
            while True:
                ended = child.process.poll() is not None
                for event in follower.new_events():
                    events.append(event)
                    on_event(event)
                if ended:
                    break
                yield
            if child.process.returncode:
                raise RunError(
                    f"the simulation failed with exit code {child.process.returncode}: "
                    f"{child.last_line()}",
                    f"see {child.log}",
                )
        return events


def _remove(run: ResolvedRun, part: str) -> None:
    path = run.out / part
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _command(run: ResolvedRun) -> list[str]:
    settings, point = run.settings, run.settings.point
    arguments = {
        "--bundle": run.bundle,
        "--data": run.data,
        "--out": run.out,
        "--devices": settings.devices,
        "--mode": settings.mode,
        "--rounds": settings.rounds,
        "--steps-per-round": settings.steps_per_round,
        "--batch-size": settings.batch_size,
        "--optimizer": settings.optimizer,
        "--schedule": settings.schedule,
        "--partition": settings.partition,
        "--seed": settings.seed,
        "--codec-up": point.up,
        "--codec-down": point.down,
        "--micro-batches": settings.micro_batches,
        "--stream-blocks": settings.stream_blocks,
        "--torch-device": settings.torch_device,
        "--precision": settings.precision,
        "--threads": run.threads,
    }
    if settings.device_optimizer:
        arguments["--device-optimizer"] = settings.device_optimizer
    if run.device_data:
        arguments["--device-data"] = ",".join(map(str, run.device_data))
    pairs = [str(part) for pair in arguments.items() for part in pair]
    return [sys.executable, "-m", "slfac.cli", "simulate", *pairs]

"""The backend of processes on this machine, over loopback."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from slfac.testbed.experiment.backend import Event, ResolvedRun
from slfac.testbed.experiment.settings import RunSettings
from slfac.testbed.link import parse_link
from slfac.testbed.local import LocalRun, steps_of_local
from slfac.wire.errors import SettingsError


class Local:
    """A server process and device processes, each device behind a relay of its link's rate."""

    name = "local"

    def check(self, settings: RunSettings) -> None:
        """Refuse what a relay on loopback cannot do.

        Args:
            settings: The run's settings.

        Raises:
            SettingsError: A link loses packets.
        """
        lossy = [text for text in settings.link if parse_link(text).loss]
        if lossy:
            raise SettingsError(
                f"setting link is {lossy[0]!r}, and loopback loses no packets",
                "pass --emulate, which gives each device a network of its own",
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
            RunError: A process failed; the message holds its last line.
            KeyFileError: Keys could not be written.
        """
        return (yield from steps_of_local(local_run(run), on_event))


def local_run(run: ResolvedRun) -> LocalRun:
    """A run in the terms of :mod:`slfac.testbed.local`.

    Args:
        run: The run.
    """
    settings, point = run.settings, run.settings.point
    return LocalRun(
        bundle=run.bundle,
        data=run.data,
        device_data=run.device_data,
        out=run.out,
        codec_up=point.up,
        codec_down=point.down,
        links=settings.links,
        server_threads=run.threads,
        devices=settings.devices,
        rounds=settings.rounds,
        steps_per_round=settings.steps_per_round,
        batch_size=settings.batch_size,
        optimizer=settings.optimizer,
        device_optimizer=settings.device_optimizer,
        schedule=settings.schedule,
        partition=settings.partition,
        mode=settings.mode,
        seed=settings.seed,
        torch_device=settings.torch_device,
        precision=settings.precision,
        micro_batches=settings.micro_batches,
        stream_blocks=settings.stream_blocks,
        energy=settings.energy,
    )

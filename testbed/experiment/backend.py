"""What carries out one run of an experiment: processes here, emulated hosts, or a simulation."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from slfac.testbed.experiment.settings import RunSettings

Event = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class ResolvedRun:
    """One run with everything that it needs, ready to be carried out.

    Attributes:
        settings: What decides its outcome; ``settings.links`` are its links as numbers.
        bundle: The exported model.
        data: Data set with train and test split, of all devices and of the server.
        device_data: A data set for each device, where devices have data of their own
            (``settings.partition`` is ``own``); else empty: devices share ``data``.
        out: Folder of the run; an earlier run in it is replaced.
        threads: Threads that the run's server may use.
    """

    settings: RunSettings
    bundle: Path
    data: Path
    device_data: tuple[Path, ...]
    out: Path
    threads: int


class Backend(Protocol):
    """Carries out runs.

    Whatever it is, a run leaves the same: ``out/metrics.jsonl`` with the events of a real server
    (docs/guide.md), from ``run`` to ``end``. Records and reports read nothing else.

    Attributes:
        name: Its name; part of what decides whether a finished run can be reused.
    """

    @property
    def name(self) -> str:
        """Its name, such as ``local``."""

    def check(self, settings: RunSettings) -> None:
        """Refuse a run that it cannot carry out, before anything is started.

        Args:
            settings: The run's settings.

        Raises:
            SettingsError: It cannot; the remedy says what can.
        """

    def place(self, settings: RunSettings) -> dict[str, Any]:
        """What of this backend decides how a run ends, beside its settings and this machine.

        Args:
            settings: The run's settings.

        Returns:
            JSON values; a finished run is reused only where they are the same.
        """

    def steps(
        self, run: ResolvedRun, on_event: Callable[[Event], None]
    ) -> Generator[None, None, list[Event]]:
        """Carry out a run in steps, so that one thread can look after several.

        Closing the generator ends all that the run has started.

        Args:
            run: The run.
            on_event: Called with each metrics event as it happens.

        Yields:
            Nothing, some times a second.

        Returns:
            All metrics events.

        Raises:
            SlfacError: The run failed; the message says why.
        """

"""The backend of emulated hosts on this machine, each with a network of its own."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from slfac.testbed.emulate.lan import Lan, raise_lan
from slfac.testbed.emulate.plan import LanPlan, PlannedLink
from slfac.testbed.experiment.backend import Event, ResolvedRun
from slfac.testbed.experiment.local import local_run
from slfac.testbed.experiment.settings import RunSettings
from slfac.testbed.link import LinkRate, parse_link
from slfac.testbed.local import steps_of_local
from slfac.testbed.report.folders import TABLES_NAME
from slfac.testbed.write import replace_file
from slfac.wire.errors import RunError, SettingsError

_QUEUE_S = 0.1
_numbers = itertools.count(1)


class Emulated:
    """A server and devices in hosts of an emulated LAN (docs/emulation.md)."""

    name = "emulated"

    def __init__(self) -> None:
        self._known: dict[str, Any] = {}

    def check(self, settings: RunSettings) -> None:
        """Refuse packets that are to be lost where this user can have none lost.

        Args:
            settings: The run's settings.

        Raises:
            SettingsError: They cannot be.
            RunError: No LAN can be made.
        """
        lossy = [text for text in settings.link if parse_link(text).loss]
        if lossy and self.place(settings)["shaper"] == "relay":
            raise SettingsError(
                f"setting link is {lossy[0]!r}, and no packets can be lost here: hosts with "
                "networks need root",
                "run it as root, or with links that lose nothing",
            )

    def place(self, settings: RunSettings) -> dict[str, Any]:
        """What shapes links here, and TCP's congestion control, as a LAN comes to have them.

        Args:
            settings: The run's settings.

        Raises:
            RunError: No LAN can be made.
        """
        if not self._known:
            with raise_lan(lan_plan(settings)) as lan:
                self._known = _traits(lan)
        return self._known

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
            RunError: A process failed, or the LAN cannot be made or cannot do what is asked.
            KeyFileError: Keys could not be written.
        """
        with raise_lan(lan_plan(run.settings)) as lan:
            if _traits(lan) != self.place(run.settings):
                raise RunError(
                    f"links are now shaped by {lan.shaper}, with {lan.congestion}",
                    "give the same command again",
                )
            lan.begin()
            local = replace(local_run(run), links=())
            events = yield from steps_of_local(local, on_event, _Hosts(lan))
            replace_file(run.out / TABLES_NAME, _tables(lan))
            return events


def _traits(lan: Lan) -> dict[str, Any]:
    """What of a LAN its plan does not decide."""
    return {"shaper": lan.shaper, "congestion": lan.congestion}


def lan_plan(settings: RunSettings) -> LanPlan:
    """The LAN of a run.

    Args:
        settings: The run's settings.
    """
    links = settings.links or (None,) * settings.devices
    return LanPlan(
        name=f"run-{os.getpid()}-{next(_numbers)}",
        links=tuple(_planned(index, link) for index, link in enumerate(links, start=1)),
        seed=settings.seed,
        made_by="slfac experiment",
    )


def _planned(index: int, link: LinkRate | None) -> PlannedLink:
    return PlannedLink(
        device=f"device-{index}",
        up_bit_per_s=link.up_bit_per_s if link else None,
        down_bit_per_s=link.down_bit_per_s if link else None,
        delay_s=link.delay_s if link else 0.0,
        jitter_s=0.0,
        loss=link.loss if link else 0.0,
        queue_s=_QUEUE_S,
    )


@dataclass(frozen=True)
class _Hosts:
    """The hosts of a LAN, as a run's network."""

    lan: Lan

    @property
    def bind(self) -> str:
        return self.lan.server_address

    def command(self, name: str, command: Sequence[str]) -> list[str]:
        return self.lan.hosts[name].command(command)

    def reached(
        self, address: str, names: Sequence[str]
    ) -> contextlib.AbstractContextManager[Sequence[str]]:
        del address  # Each host has its own way to the server.
        return contextlib.nullcontext([self.lan.hosts[name].server_address for name in names])


def _tables(lan: Lan) -> bytes:
    """What the links carried, as the report shows it."""
    counters = lan.counters()
    ways = [way for both in counters.values() for way in both.values()]
    fields = list(dict.fromkeys(field for way in ways for field in way))
    rows = [
        [device, way, *(f"{values[field]:g}" if field in values else "-" for field in fields)]
        for device, both in counters.items()
        for way, values in both.items()
    ]
    table = {
        "title": f"Emulated links, by the shaper {lan.shaper}",
        "columns": ["device", "way", *(field.replace("_", " ") for field in fields)],
        "rows": rows,
        "note": f"TCP's congestion control: {lan.congestion}. {' '.join(lan.limits)}".strip(),
    }
    return json.dumps([table]).encode()

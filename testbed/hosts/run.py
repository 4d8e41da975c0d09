"""One run on a testbed, from hosts that are ready to a folder with its report."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from slfac.testbed.hosts.agents import run_of
from slfac.testbed.hosts.baseline import baseline
from slfac.testbed.hosts.collect import check_folder, collect_files, write_facts
from slfac.testbed.hosts.facts import FACTS_FILE, facts_of
from slfac.testbed.hosts.follow import Event, Follower, reconnected
from slfac.testbed.hosts.host import Host
from slfac.testbed.hosts.lab import Lab, Members
from slfac.testbed.hosts.pool import connected, each
from slfac.testbed.hosts.ready import make_ready
from slfac.testbed.hosts.show import Show
from slfac.testbed.hosts.start import start_run
from slfac.testbed.hosts.targets import SERVER
from slfac.testbed.progress import RunProgress
from slfac.wire.errors import HostError, RunError, SlfacError


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How to carry a run out.

    Attributes:
        out: Where results go.
        install: Whether to bring slfac also where it is found.
        measure: Whether to measure links and clocks before and after.
        detach: Whether to leave once everything is started.
    """

    out: Path
    install: bool = False
    measure: bool = True
    detach: bool = False


@dataclass
class Carried:
    """What came of a run.

    Attributes:
        facts: What is kept of it beside its metrics.
        events: What the server wrote.
        errors: Hosts whose files could not be had, and why; ``down`` where some could not be
            stopped.
    """

    facts: dict[str, Any]
    events: list[Event] = field(default_factory=list)
    errors: dict[str, str] = field(default_factory=dict)


@contextlib.asynccontextmanager
async def ready_hosts(
    lab: Lab, show: Show, *, install: bool, least_devices: int | None = None
) -> AsyncIterator[Members]:
    """Connect to a testbed's hosts and make them ready.

    Args:
        lab: The testbed.
        show: Told what happens.
        install: Whether to bring slfac also where it is found.
        least_devices: With how many devices to go on; None for all.

    Yields:
        The hosts that can be used.

    Raises:
        SlfacError: A branch of it: the server's host cannot be used, or too few devices.
    """
    async with connected(lab.targets, lab.inventory.name, show.failed) as hosts:
        yield await make_ready(lab, hosts, show, install=install, least_devices=least_devices)


async def carry_out(lab: Lab, options: RunOptions, console: Console) -> Carried:
    """Carry a run out.

    Args:
        lab: The testbed.
        options: How.
        console: Where to show it.

    Returns:
        What came of it; its files are in the folder of the options.

    Raises:
        SlfacError: A branch of it: hosts cannot be used, or the run failed.
    """
    run = run_of(lab.inventory)
    check_folder(options.out)
    least = run.settings.get("min_devices") or None
    with Show(console, lab.names) as show:
        async with ready_hosts(lab, show, install=options.install, least_devices=least) as members:
            before = await _measure(lab, members, show) if options.measure else {}
            carried = Carried(facts_of(lab, members, before))
            await start_run(lab, members, carried.facts, show)
            if options.detach:
                _begin_cuts(lab)
                return carried
            show.pause()
            await _follow(lab, members, carried, console, least)
            show.go_on()
            after = await _measure(lab, members, show) if options.measure else {}
            carried.facts["baseline"]["after"] = after
            await _gather(lab, members, carried, options.out, show)
    return carried


async def collect_all(lab: Lab, out: Path, show: Show) -> dict[str, str]:
    """Bring all files of the last run here, with what is known beside them.

    Args:
        lab: The testbed.
        out: Where to.
        show: Told what happens.

    Returns:
        Hosts whose files could not be had, and why.

    Raises:
        SlfacError: A branch of it: there was no run, or the server's files cannot be had.
    """
    errors: dict[str, str] = {}

    def failed(name: str, error: SlfacError) -> None:
        errors[name] = str(error)
        show.line(name, str(error))

    async with connected(lab.targets, lab.inventory.name, failed) as hosts:

        async def prepare(host: Host) -> Host:
            if not await host.find():
                raise HostError(f"{host.name}: no run was started there")
            return host

        there = await each(hosts, prepare, lambda host: host.name, failed)
        await collect_files(list(there.values()), out, failed)
    try:
        facts: dict[str, Any] = json.loads((out / FACTS_FILE).read_bytes())
    except (OSError, ValueError) as error:
        what = errors.get(SERVER, "server: no run was started there")
        raise RunError(f"the run cannot be had: {what}") from error
    _add_cuts(lab, facts)
    write_facts(out, facts)
    return errors


async def _gather(lab: Lab, members: Members, carried: Carried, out: Path, show: Show) -> None:
    """Bring all files of a run that has ended here."""
    there = [r.host for r in members.all if await reconnected(r, show.line)]

    def failed(name: str, error: SlfacError) -> None:
        carried.errors[name] = str(error)
        show.line(name, str(error))

    await collect_files(there, out, failed)
    for ready in members.all:
        if ready.host not in there:
            carried.errors.setdefault(ready.host.name, "it could not be reached")
    _add_cuts(lab, carried.facts)
    write_facts(out, carried.facts)


def _add_cuts(lab: Lab, facts: dict[str, Any]) -> None:
    if lab.lan is not None:
        begun_s = dt.datetime.fromisoformat(facts["started"]).timestamp()
        cuts = lab.lan.status()["cuts"]
        # Hosts may have been up for other runs before.
        facts["cuts"] = [cut for cut in cuts if cut["from_s"] >= begun_s]
        facts["carried"] = lab.lan.counters()


def _begin_cuts(lab: Lab) -> None:
    if lab.lan is not None:
        lab.lan.begin()


async def _follow(
    lab: Lab, members: Members, carried: Carried, console: Console, least: int | None
) -> None:
    settings = run_of(lab.inventory).settings
    codec = str(settings.get("codec", settings.get("codec_up", "slfac")))
    rounds = int(settings.get("rounds", 10))
    width = max(map(len, lab.names))
    with RunProgress(console, codec, rounds=rounds, devices=len(members.devices)) as progress:

        def on_metric(event: Event) -> None:
            # A server that starts again says so once more.
            if event["event"] == "run" and all(e["event"] != "run" for e in carried.events):
                _begin_cuts(lab)
            carried.events.append(event)
            progress.on_event(event)

        def on_host(name: str, words: str) -> None:
            console.print(f"{name:<{width}}  {words}", highlight=False, markup=False)

        follower = Follower(
            members.server,
            members.devices,
            on_metric=on_metric,
            on_host=on_host,
            least_devices=least,
        )
        await follower.follow()


async def _measure(lab: Lab, members: Members, show: Show) -> dict[str, Any]:
    """Links and clocks of those devices that can be reached now."""
    there = [ready for ready in members.devices if await reconnected(ready, show.line)]
    if not await reconnected(members.server, show.line):
        return {}
    return await baseline(
        members.server, there, bind=lab.bind, endpoints=lab.endpoints, say=show.line
    )

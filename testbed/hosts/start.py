"""Starts a run on hosts that are ready."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from slfac.testbed.hosts.agents import Agent, device_agent, run_folder, run_of, server_agent
from slfac.testbed.hosts.deploy import Ready
from slfac.testbed.hosts.facts import FACTS_FILE
from slfac.testbed.hosts.lab import Lab, Members
from slfac.testbed.hosts.pool import each
from slfac.testbed.hosts.show import Show
from slfac.testbed.hosts.upload import send_bundle
from slfac.wire.errors import SlfacError


async def start_run(lab: Lab, members: Members, facts: Mapping[str, Any], show: Show) -> None:
    """Start the server, then the devices.

    Args:
        lab: The testbed.
        members: Its hosts, ready.
        facts: What is kept of the run.
        show: Told what happens.

    Raises:
        SlfacError: A branch of it: an agent cannot be started.
    """
    inventory, server = lab.inventory, members.server
    names = tuple(ready.host.name for ready in members.devices)
    agent = server_agent(server, inventory, bind=lab.bind, names=names)
    run = run_of(inventory)
    await send_bundle(server, run, lambda line: show.line(server.host.name, line))
    await _start(server, agent, {FACTS_FILE: json.dumps(facts, indent=1)})
    show.line(server.host.name, "server started")

    async def one(ready: Ready) -> None:
        name = ready.host.name
        device = inventory.device(name)
        await _start(ready, device_agent(ready, device, server=lab.endpoints[name]), {})
        show.line(name, "device started")

    errors: dict[str, SlfacError] = {}
    await each(members.devices, one, lambda ready: ready.host.name, errors.__setitem__)
    if errors:
        raise next(iter(errors.values()))


async def _start(ready: Ready, agent: Agent, files: Mapping[str, str]) -> None:
    await ready.host.call(
        "start",
        folder=run_folder(ready),
        agent=agent.description,
        manager=ready.manager,
        unit=ready.host.unit,
        files={**agent.files, **files},
    )

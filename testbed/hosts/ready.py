"""Makes all hosts of a testbed ready: connected, checked, installed, and known to one another."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from slfac.testbed.hosts.deploy import Deployment, Ready
from slfac.testbed.hosts.enroll import enroll, own_certificate, trust_server
from slfac.testbed.hosts.host import Host
from slfac.testbed.hosts.lab import Lab, Members, failure
from slfac.testbed.hosts.pool import each
from slfac.testbed.hosts.release import Releases
from slfac.testbed.hosts.show import Show
from slfac.testbed.hosts.targets import SERVER


async def make_ready(
    lab: Lab, hosts: Sequence[Host], show: Show, *, install: bool, least_devices: int | None = None
) -> Members:
    """Make hosts ready.

    Args:
        lab: The testbed.
        hosts: Those that are connected.
        show: Told what happens; holds what has failed so far.
        install: Whether to bring slfac also where it is found.
        least_devices: With how many devices to go on; None for all.

    Returns:
        The hosts that can be used.

    Raises:
        SlfacError: A branch of it: the server's host cannot be used, or too few devices.
    """
    deployment = Deployment(show, Releases(), install=install)
    data = {device.name: device.data for device in lab.inventory.devices}

    async def one(host: Host) -> Ready:
        of_host = lab.inventory.server.data if host.name == SERVER else data[host.name]
        return await deployment.make_ready(host, of_host)

    found = await each(hosts, one, lambda host: host.name, show.failed)
    _check(lab, found, show, least_devices)
    server = found.pop(SERVER)
    devices = [found[name] for name in lab.names if name in found]
    certificate = await own_certificate(server, "server")
    turn = asyncio.Lock()

    async def introduce(ready: Ready) -> Ready:
        own = await own_certificate(ready, "device")
        await trust_server(ready, certificate)
        async with turn:  # the allow-list is one folder
            await enroll(server, ready.host.name, own)
        return ready

    known = await each(devices, introduce, lambda ready: ready.host.name, show.failed)
    _check(lab, {SERVER: server, **known}, show, least_devices)
    members = Members(server, tuple(known[name] for name in lab.names if name in known))
    for ready in members.all:
        show.done(ready.host.name, _words(ready))
        for remark in ready.remarks:
            show.line(ready.host.name, f"note: {remark}")
    return members


def _check(lab: Lab, found: dict[str, Ready], show: Show, least_devices: int | None) -> None:
    """Refuse to go on without the server, or with too few devices."""
    least = len(lab.targets) - 1 if least_devices is None else least_devices
    if SERVER not in found or len(found) - 1 < max(least, 1):
        raise failure(lab, show.errors)


def _words(ready: Ready) -> str:
    facts = ready.facts
    what = facts["model"] or f"{facts['system']} {facts['machine']}"
    how = {
        "system": "as a system unit",
        "user": "as a user's unit",
        "built-in": "under slfac's supervisor",
    }[ready.manager]
    return (
        f"ready: {what}, Python {facts['python']}, {facts['free_bytes'] / 1e9:.1f} GB free, "
        f"slfac {ready.version}, runs {how}"
    )

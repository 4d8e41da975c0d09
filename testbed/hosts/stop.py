"""Ends what a testbed runs on its hosts, and takes away what it put there."""

from __future__ import annotations

from slfac.testbed.hosts.agents import RUN_FOLDER
from slfac.testbed.hosts.host import Host, is_here
from slfac.testbed.hosts.lab import Lab, failure
from slfac.testbed.hosts.pool import connected, each
from slfac.testbed.hosts.show import Show
from slfac.wire.errors import HostError


async def stop_all(lab: Lab, show: Show, *, purge: bool = False) -> None:
    """End everything on all hosts that can be reached; again, if need be.

    Args:
        lab: The testbed.
        show: Told what happens.
        purge: Whether to remove all that it has put there, keys and releases too.

    Raises:
        SlfacError: A branch of it: something could not be ended, or a host not be reached.
    """
    async with connected(lab.targets, lab.inventory.name, show.failed) as hosts:

        async def one(host: Host) -> None:
            show.step(host.name, "stopping")
            show.done(host.name, await stop_host(host, purge=purge))

        await each(hosts, one, lambda host: host.name, show.failed)
    if show.errors:
        raise failure(lab, show.errors)


async def stop_host(host: Host, *, purge: bool = False) -> str:
    """End everything on a host.

    Args:
        host: The host, connected.
        purge: Whether to remove all that the testbed has put there.

    Returns:
        What was done, in words.

    Raises:
        HostError: Something could not be ended or removed.
        LinkError: The connection broke.
    """
    facts = await host.probe()
    try:
        await host.prepare(facts)
    except HostError:
        if facts["writable"]:
            raise
        return "nothing of this testbed is there"
    done = await host.call("stop", folder=f"{host.folder}/{RUN_FOLDER}", unit=host.unit)
    rest = await host.call("stop", folder=host.folder, unit=host.unit)
    if not is_here(facts):
        await host.call("purge", folder=host.folder, versions=host.versions)
        return "nothing of this testbed is there"
    words = "stopped" if done["before"] in {"running", "waiting", "lost"} else "nothing ran"
    killed = done["killed"] + rest["killed"]
    if killed:
        words += f", {killed} processes had to be killed"
    if purge:
        await host.call("purge", folder=host.folder, versions=host.versions)
        words += ", its folder is removed"
    return words

"""Says how a testbed is, and shows what its agents said."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from slfac.testbed.hosts.agents import RUN_FOLDER
from slfac.testbed.hosts.host import Host
from slfac.testbed.hosts.lab import Lab
from slfac.testbed.hosts.pool import connected, each
from slfac.testbed.hosts.remote.state import LOG_FILE
from slfac.wire.errors import LinkError, SettingsError, SlfacError

_WORDS = {
    "none": "nothing was started",
    "lost": "gone before it was done",
    "waiting": "waits before another try",
}


def show_status(lab: Lab, console: Console, *, as_json: bool) -> int:
    """Show what runs on each host.

    Args:
        lab: The testbed.
        console: Where to.
        as_json: Whether to print one JSON object instead of a table.

    Returns:
        The exit code: 1 where a host cannot be reached or its agent has failed, else 0.
    """
    states = asyncio.run(_states(lab))
    if as_json:
        console.out(json.dumps(states, indent=2), highlight=False)
    else:
        table = Table("host", "state", "since", "starts", "", box=None, header_style="bold")
        for name, state in states.items():
            table.add_row(*(Text(word) for word in (name, *_row(state))))
        console.print(table)
    bad = {"unreachable", "failed", "lost"}
    return 1 if any(state["state"] in bad for state in states.values()) else 0


def show_logs(lab: Lab, console: Console, *, host: str | None, follow: bool, lines: int) -> None:
    """Show what agents said.

    Args:
        lab: The testbed.
        console: Where to.
        host: Of which host; None for all.
        follow: Whether to go on until it is interrupted.
        lines: How many of the last lines to begin with.

    Raises:
        SettingsError: There is no such host.
        SlfacError: A branch of it: a host cannot be reached.
    """
    if host is not None and host not in lab.names:
        raise SettingsError(f"there is no host {host!r}", f"there are {', '.join(lab.names)}")
    if lines < 0:
        raise SettingsError(f"setting lines is {lines}", "use 0 or more")
    asyncio.run(_logs(lab, console, host, follow=follow, lines=lines))


async def _states(lab: Lab) -> dict[str, dict[str, Any]]:
    states: dict[str, dict[str, Any]] = {}

    def failed(name: str, error: SlfacError) -> None:
        states[name] = {"state": "unreachable", "last_line": error.what}

    async def one(host: Host) -> None:
        states[host.name] = {"state": "none"}
        if await host.find():
            states[host.name] = await host.call("status", folder=f"{host.folder}/{RUN_FOLDER}")

    async with connected(lab.targets, lab.inventory.name, failed) as hosts:
        await each(hosts, one, lambda host: host.name, failed)
    return {name: states[name] for name in lab.names}


def _row(state: dict[str, Any]) -> tuple[str, ...]:
    since_s, what = state.get("since_s"), state["state"]
    ago = "" if since_s is None else f"{max(0.0, time.time() - since_s):.0f} s"
    words = _WORDS.get(what, "")
    return what, ago, str(state.get("starts", "")), state.get("last_line") or words


async def _logs(lab: Lab, console: Console, only: str | None, *, follow: bool, lines: int) -> None:
    targets = [target for target in lab.targets if only in (None, target.name)]
    width = max(len(target.name) for target in targets)
    errors: dict[str, SlfacError] = {}

    def say(name: str, line: str) -> None:
        console.out(f"{name:<{width}}  {line}" if only is None else line, highlight=False)

    def failed(name: str, error: SlfacError) -> None:
        errors[name] = error
        say(name, str(error))

    async def one(host: Host) -> None:
        if not await host.find():
            return
        folder = f"{host.folder}/{RUN_FOLDER}"
        last = await host.call("last_lines", folder=folder, name=LOG_FILE, count=lines)
        for line in last["lines"]:
            say(host.name, line)
        offset = last["offset"]
        while follow:
            offset = await _follow(host, folder, offset, say)

    async with connected(targets, lab.inventory.name, failed) as hosts:
        await each(hosts, one, lambda host: host.name, failed)
    if errors:
        raise next(iter(errors.values()))


async def _follow(host: Host, folder: str, offset: int, say: Any) -> int:
    """Show new lines until the connection breaks; then connect again."""
    known = {LOG_FILE: offset}
    try:
        lines = host.listen("watch", folder=folder, files=known)
        async with contextlib.aclosing(lines):
            async for said in lines:
                if said.get("file") == LOG_FILE:
                    known[LOG_FILE] = said["offset"]
                    say(host.name, said["line"])
    except LinkError as error:
        say(host.name, f"({error.what})")
    await asyncio.sleep(1.0)
    with contextlib.suppress(LinkError):
        await host.reconnect()
    return known[LOG_FILE]

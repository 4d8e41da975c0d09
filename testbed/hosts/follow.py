"""Follows a run on all its hosts, through lost connections and boards that start again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from slfac.testbed.hosts.agents import OUT_FOLDER, run_folder
from slfac.testbed.hosts.deploy import Ready
from slfac.testbed.hosts.remote.state import EVENTS_FILE
from slfac.wire.errors import HostError, LinkError, RunError, SlfacError

METRICS: Final = f"{OUT_FOLDER}/metrics.jsonl"
_FIRST_WAIT_S: Final = 1.0
_LONGEST_WAIT_S: Final = 15.0
_END_S: Final = 30.0
Event = dict[str, Any]


class Follower:
    """Follows a run.

    Args:
        server: The server's host.
        devices: The devices' hosts.
        on_metric: Told of each event that the server writes.
        on_host: Told of each thing that happens to a host, as a name and words.
        least_devices: With how many the run goes on where others fail for good; None for all.
    """

    def __init__(
        self,
        server: Ready,
        devices: Sequence[Ready],
        *,
        on_metric: Callable[[Event], None],
        on_host: Callable[[str, str], None],
        least_devices: int | None = None,
    ) -> None:
        self._server = server
        self._devices = {ready.host.name: ready for ready in devices}
        self._on_metric = on_metric
        self._on_host = on_host
        self._least = least_devices if least_devices is not None else len(devices)
        self._ended: dict[str, dict[str, Any]] = {}
        self._changed = asyncio.Event()
        self._offsets: dict[str, dict[str, int]] = {}

    async def follow(self) -> None:
        """Follow until the server is done, and then the devices.

        Raises:
            RunError: The server failed, or too many devices did.
        """
        hosts = [self._server, *self._devices.values()]
        tasks = [asyncio.create_task(self._keep_watching(ready)) for ready in hosts]
        try:
            await self._until_server_ended(tasks)
            with contextlib.suppress(TimeoutError, asyncio.TimeoutError):
                await asyncio.wait_for(self._until_devices_ended(), _END_S)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _until_server_ended(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        name = self._server.host.name
        while name not in self._ended:
            self._changed.clear()
            waits = [asyncio.create_task(self._changed.wait()), *tasks]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            waits[0].cancel()
            for task in tasks:
                if task.done() and task.exception() is not None:
                    task.result()
            failed = [n for n in self._devices if self._ended.get(n, {}).get("state") == "failed"]
            if len(self._devices) - len(failed) < self._least:
                raise RunError(
                    f"{failed[0]} failed for good: {self._ended[failed[0]]['last_line']}",
                    "`slfac testbed logs` has all that it said",
                )
        if self._ended[name]["state"] != "done":
            raise RunError(
                f"the server failed: {self._ended[name]['last_line'] or 'it said nothing'}",
                "`slfac testbed logs` has all that it said",
            )

    async def _until_devices_ended(self) -> None:
        while not self._devices.keys() <= self._ended.keys():
            self._changed.clear()
            await self._changed.wait()

    async def _keep_watching(self, ready: Ready) -> None:
        """Watch a host; where the connection breaks, connect again."""
        name, wait_s, lost_s = ready.host.name, _FIRST_WAIT_S, 0.0
        while name not in self._ended:
            try:
                if lost_s:
                    await ready.host.reconnect()
                    away_s = time.monotonic() - lost_s
                    self._on_host(name, f"reached again after {away_s:.0f} s")
                    lost_s, wait_s = 0.0, _FIRST_WAIT_S
                await self._watch(ready)
            except LinkError as error:
                if not lost_s:
                    lost_s = time.monotonic()
                    self._on_host(name, f"connection lost, trying again: {error.what}")
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    async def _watch(self, ready: Ready) -> None:
        name = ready.host.name
        is_server = ready is self._server
        known = self._offsets.setdefault(
            name, {EVENTS_FILE: 0, **({METRICS: 0} if is_server else {})}
        )
        lines = ready.host.listen("watch", folder=run_folder(ready), files=known)
        async with contextlib.aclosing(lines):
            async for said in lines:
                if "state" in said:
                    await self._on_state(ready, said["state"])
                elif "file" in said:
                    known[said["file"]] = said["offset"]
                    self._on_line(name, said["file"], said["line"])
                if name in self._ended:
                    return
        raise LinkError(f"{name}: the connection broke")

    async def _on_state(self, ready: Ready, state: dict[str, Any]) -> None:
        name, what = ready.host.name, state["state"]
        if what in {"done", "failed", "stopped"}:
            self._ended[name] = {"last_line": "it was stopped", **state}
            if what != "done":
                self._on_host(name, f"{what}: {state.get('last_line', '')}")
            self._changed.set()
        elif what == "none":
            raise HostError(f"{name}: its folder is gone", "`slfac testbed up` makes it again")
        elif what == "lost":
            await ready.host.call("resume", folder=run_folder(ready), unit=ready.host.unit)

    def _on_line(self, name: str, file: str, line: str) -> None:
        try:
            event = json.loads(line)
        except ValueError:
            return  # cut off when a server went on from its checkpoint
        if file == METRICS:
            self._on_metric(event)
        elif event["event"] == "supervisor_restarted":
            how = "the host started again" if event["after"] == "reboot" else "it was gone"
            self._on_host(name, f"its supervisor goes on: {how}")
        elif event["event"] == "agent_started" and event["start"] > 1:
            self._on_host(name, f"agent started again, for the {event['start'] - 1}. time")
        elif event["event"] == "agent_ended" and event.get("code") != 0:
            how = event.get("signal") or f"exit code {event.get('code')}"
            self._on_host(name, f"agent ended by {how}: {event['last_line']}")


async def reconnected(ready: Ready, say: Callable[[str, str], None]) -> bool:
    """Make sure of the connection to a host.

    Args:
        ready: The host.
        say: Told where it cannot be had.

    Returns:
        Whether it can be used.
    """
    try:
        await ready.host.reconnect()
    except SlfacError as error:
        say(ready.host.name, str(error))
        return False
    return True

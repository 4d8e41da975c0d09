"""What links and clocks are like before and after a run."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final

from slfac.testbed.hosts.clocks import clock_offset
from slfac.testbed.hosts.deploy import Ready
from slfac.testbed.hosts.enroll import keys_folder, run_slfac
from slfac.wire.errors import HostError, SlfacError

_LISTENS: Final = "listening on"
_LISTENS_S: Final = 60.0
_STREAM: Final = ("--sizes", "65536", "--repetition-s", "0.4")


async def baseline(
    server: Ready,
    devices: Sequence[Ready],
    *,
    bind: str,
    endpoints: Mapping[str, str],
    say: Callable[[str, str], None],
) -> dict[str, dict[str, Any]]:
    """Measure each device's link to the server, one after the other, and its clock.

    Args:
        server: The server's host.
        devices: The devices' hosts.
        bind: Where the other end is to listen on the server's host.
        endpoints: Where each device finds it, by name.
        say: Told which host is measured, and what came of it.

    Returns:
        For each device ``up_mbits``, ``down_mbits``, ``rtt_ms`` with their 95 % intervals,
        ``clock_offset_ms`` to the server's and ``clock_error_ms``; or ``error``.

    Raises:
        HostError: The server's end does not start.
        LinkError: The connection to the server's host broke.
    """
    found: dict[str, dict[str, Any]] = {}
    of_server = await clock_offset(server.host)
    async with _peer(server, bind):
        for ready in devices:
            name = ready.host.name
            say(name, "measuring its link")
            try:
                own = await clock_offset(ready.host)
                keys = keys_folder(ready)
                peer = ("--peer", endpoints[name], "--keys", keys)
                link = json.loads(
                    await run_slfac(ready, "profile", "link", *peer, *_STREAM, "--json")
                )
            except SlfacError as error:
                found[name] = {"error": str(error)}
                say(name, f"not measured: {error}")
                continue
            found[name] = {
                **link,
                "clock_offset_ms": round(1e3 * (own.offset_s - of_server.offset_s), 3),
                "clock_error_ms": round(1e3 * (own.error_s + of_server.error_s), 3),
            }
            say(name, _words(found[name]))
    return found


@contextlib.asynccontextmanager
async def _peer(server: Ready, bind: str) -> AsyncIterator[None]:
    """The other end, for as long as the block lasts."""
    options = ("--bind", bind, "--keys", keys_folder(server))
    command = [*server.program, "profile", "peer", *options]
    lines = server.host.listen("attend", command=command, folder=server.host.folder)
    async with contextlib.aclosing(lines):
        await asyncio.wait_for(_until_listening(lines), _LISTENS_S)
        drain = asyncio.create_task(_drain(lines))
        try:
            yield
        finally:
            drain.cancel()
            await asyncio.gather(drain, return_exceptions=True)


async def _until_listening(lines: AsyncIterator[dict[str, Any]]) -> None:
    last = "it said nothing"
    async for said in lines:
        last = said.get("line", last)
        if _LISTENS in last:
            return
    raise HostError(f"server: links cannot be measured: {last}")


async def _drain(lines: AsyncIterator[dict[str, Any]]) -> None:
    with contextlib.suppress(SlfacError):
        async for _ in lines:
            pass


def _words(found: Mapping[str, Any]) -> str:
    return (
        f"{found['up_mbits']['value']:.4g} Mbit/s up, {found['down_mbits']['value']:.4g} down, "
        f"{found['rtt_ms']['value']:.3g} ms round trip, clock {found['clock_offset_ms']:+.1f} ± "
        f"{found['clock_error_ms']:.1f} ms"
    )

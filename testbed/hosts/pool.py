"""Does something on many hosts at once, and gathers what went wrong."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final, TypeVar

from slfac.testbed.hosts.host import Host, connect
from slfac.testbed.hosts.targets import Target
from slfac.wire.errors import SlfacError

# A server of SSH drops handshakes that are too many at a time.
_HANDSHAKES: Final = 16
T = TypeVar("T")
U = TypeVar("U")
OnError = Callable[[str, SlfacError], None]


@contextlib.asynccontextmanager
async def connected(
    targets: Sequence[Target], testbed: str, on_error: OnError
) -> AsyncIterator[list[Host]]:
    """Connect to hosts, and hang up in the end.

    Args:
        targets: Where they are.
        testbed: Name of the testbed.
        on_error: Told of each host that cannot be reached.

    Yields:
        Those that can, in their order.
    """
    turn = asyncio.Semaphore(_HANDSHAKES)
    hosts: list[Host] = []

    async def one(target: Target) -> None:
        async with turn:
            hosts.append(await connect(target, testbed))

    try:
        await each(targets, one, lambda target: target.name, on_error)
        order = [target.name for target in targets]
        hosts.sort(key=lambda host: order.index(host.name))
        yield hosts
    finally:
        await asyncio.gather(*(host.close() for host in hosts), return_exceptions=True)


async def each(
    items: Sequence[T],
    work: Callable[[T], Awaitable[U]],
    name: Callable[[T], str],
    on_error: OnError,
) -> dict[str, U]:
    """Do something with each of many at once; where one fails the others go on.

    Args:
        items: What to do it with.
        work: What to do.
        name: What an item is called.
        on_error: Told of each that fails.

    Returns:
        What came of those that did not fail, by name.
    """
    done: dict[str, U] = {}

    async def one(item: T) -> None:
        try:
            done[name(item)] = await work(item)
        except SlfacError as error:
            on_error(name(item), error)

    tasks = [asyncio.create_task(one(item)) for item in items]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return done

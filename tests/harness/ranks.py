"""Ranks as threads of one process, over real gloo."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import torch.distributed as dist

from slfac.server.shard.group import Group

_LIMIT = dt.timedelta(seconds=30)
T = TypeVar("T")


def on_ranks(world: int, work: Callable[[Group], T]) -> list[T]:
    """What work returns on each rank; the error of the first that failed is raised."""
    store = dist.PrefixStore("ranks", dist.HashStore())
    results: list[Any] = [None] * world
    errors: list[BaseException | None] = [None] * world

    def run(rank: int) -> None:
        try:
            ranks = dist.ProcessGroupGloo(store, rank, world, _LIMIT)
            results[rank] = work(Group(ranks, store, rank=rank, world=world))
        except BaseException as error:  # noqa: BLE001 - handed to the test
            errors[rank] = error

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in errors:
        if error is not None:
            raise error
    return results

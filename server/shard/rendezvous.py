"""How the ranks that torchrun has started find one another, and nobody of an earlier start.

torchrun keeps one store for all its starts, in which the addresses of ranks that were killed are
still to be read. So each start agrees on a name of its own for what it writes: every further rank
leaves a word that nobody used before, and the first rank answers it with the name. By the time that
torchrun starts any rank again, it has ended all of them.
"""

from __future__ import annotations

import secrets
import time

from torch.distributed.distributed_c10d import PrefixStore, Store

from slfac.wire.errors import RunError

_POLL_S = 0.02


def fresh_store(store: Store, *, rank: int, world: int, limit_s: float) -> PrefixStore:
    """A part of torchrun's store that no earlier start has written to.

    Args:
        store: torchrun's.
        rank: Number of this rank.
        world: How many ranks there are.
        limit_s: How long to wait for the others.

    Returns:
        The same part on all ranks.

    Raises:
        RunError: A rank did not come.
    """
    store = PrefixStore("slfac", store)
    until_s = time.monotonic() + limit_s
    name = _name(store, world, until_s) if rank == 0 else _ask(store, rank, until_s)
    return PrefixStore(name, store)


def _name(store: Store, world: int, until_s: float) -> str:
    name = secrets.token_hex(8)
    awaited = set(range(1, world))
    while awaited:
        for rank in awaited:
            word = f"word/{rank}"
            # It may still be an earlier start's, whom no answer reaches.
            if store.check([word]):
                store.set(f"answer/{store.get(word).decode()}", name)
        awaited = {rank for rank in awaited if not store.check([f"{name}/{rank}"])}
        if awaited:
            _pause(until_s, f"rank {min(awaited)}")
    return name


def _ask(store: Store, rank: int, until_s: float) -> str:
    word = secrets.token_hex(8)
    store.set(f"word/{rank}", word)
    while not store.check([f"answer/{word}"]):
        _pause(until_s, "rank 0")
    name = store.get(f"answer/{word}").decode()
    store.set(f"{name}/{rank}", "here")
    return name


def _pause(until_s: float, whom: str) -> None:
    if time.monotonic() > until_s:
        raise RunError(f"{whom} did not come", "see what it said on its own machine")
    time.sleep(_POLL_S)

"""Ranks of one start find one another in a store that earlier starts have written to."""

import threading

import pytest
import torch.distributed as dist

from slfac.server.shard.rendezvous import fresh_store
from slfac.wire.errors import RunError


def start(store, world, ranks=None, limit_s=20.0):
    """A start of ranks, some of which may be killed before they come to anything."""
    found = {}

    def run(rank):
        try:
            found[rank] = fresh_store(store, rank=rank, world=world, limit_s=limit_s)
        except RunError as error:
            found[rank] = error

    threads = [threading.Thread(target=run, args=(r,)) for r in ranks or range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_each_start_has_a_part_of_the_store_to_itself():
    store = dist.HashStore()
    first = start(store, 3)
    first[0].set("address", "old")
    assert [first[rank].get("address") for rank in range(3)] == [b"old"] * 3
    second = start(store, 3)
    assert not any(second[rank].check(["address"]) for rank in range(3))
    second[2].set("address", "new")
    assert second[0].get("address") == b"new"


def test_a_start_that_came_to_nothing_leaves_nothing_behind():
    store = dist.HashStore()
    alone = start(store, 2, ranks=[1], limit_s=0.05)
    assert str(alone[1]) == "rank 0 did not come; see what it said on its own machine"
    alone = start(store, 2, ranks=[0], limit_s=0.05)
    assert str(alone[0]).startswith("rank 1 did not come")
    both = start(store, 2)
    both[1].set("x", "y")
    assert both[0].get("x") == b"y"


@pytest.mark.parametrize("world", [1, 4])
def test_any_number_of_ranks(world):
    assert len(start(dist.HashStore(), world)) == world

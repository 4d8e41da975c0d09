"""What ranks tell one another, and what they hear when one of them fails."""

import math
import re

import pytest
import torch

from harness.ranks import on_ranks
from slfac.server.peers import Peers
from slfac.server.shard import group as module
from slfac.server.shard.group import RankLostError


def test_all_ranks_learn_what_each_says():
    def work(group):
        return (
            group.share(group.rank, 0.5),
            group.sums(group.rank + 1, 1 << 40),
            group.least(math.inf if group.rank else 2.5),
            group.gather(b"x" * (3 * group.rank)),
            group.gather(b""),
        )

    for told in on_ranks(3, work):
        assert told == (
            [(0.0, 0.5), (1.0, 0.5), (2.0, 0.5)],
            (6, 3 << 40),
            2.5,
            [b"", b"xxx", b"xxxxxx"],
            [b"", b"", b""],
        )


def test_alone_everything_is_ones_own():
    peers = Peers()
    tensor = torch.ones(2)
    peers.add([tensor])
    assert tensor.tolist() == [1, 1]
    assert (peers.sums(3, 4), peers.least(2.5), peers.gather(b"x")) == ((3, 4), 2.5, [b"x"])
    assert peers.gather_tensor(tensor)[0] is tensor
    with peers.as_one_batch(counts=True):
        assert torch.nn.BatchNorm1d(2)(torch.eye(2)).shape == (2, 2)


def test_sums_of_many_tensors_are_the_same_bits_everywhere(monkeypatch):
    monkeypatch.setattr(module, "_PIECE_BYTES", 64)
    shapes = [(3, 4), (1,), (), (40,), (2, 2), (0,)]
    dtypes = [torch.float32, torch.float32, torch.float32, torch.float32, torch.float64]
    dtypes.append(torch.float64)

    def tensors(rank):
        generator = torch.Generator().manual_seed(rank)
        return [
            torch.randn(shape, generator=generator, dtype=dtype)
            for shape, dtype in zip(shapes, dtypes, strict=True)
        ]

    def work(group):
        own = tensors(group.rank)
        own[0] = own[0].t().contiguous().t()
        group.add(own)
        return own

    ranks = on_ranks(3, work)
    for number in range(len(shapes)):
        expected = sum(tensors(rank)[number].double() for rank in range(3))
        for rank in ranks:
            torch.testing.assert_close(rank[number].double(), expected, rtol=1e-6, atol=1e-6)
            assert rank[number].equal(ranks[0][number])


@pytest.mark.parametrize("says", ["", "its disk is full"])
def test_who_is_left_says_which_rank_failed_and_why(says):
    def work(group):
        group.share(1)
        if group.rank == 1:
            if says:
                group.declare(says)
                group.declare("a second word")
            return "gone"
        with pytest.raises(RankLostError) as caught:
            group.share(1)
        return str(caught.value), caught.value.final

    (told, final), _ = on_ranks(2, work)
    assert final is bool(says)
    if says:
        assert told == f"rank 1: {says}"
    else:
        assert re.match("the link to another rank broke: [A-Z][a-z][^\\n/]*; see what that", told)
    assert RankLostError.exit_code == 60

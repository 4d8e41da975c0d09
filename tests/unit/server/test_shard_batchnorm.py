"""BatchNorm over ranks against torch's own on the concatenated batch."""

import copy

import pytest
import torch
from torch import nn

from harness.ranks import on_ranks

WITHOUT = {"rtol": 0, "atol": 0}
CLOSE = {"rtol": 1e-5, "atol": 2e-6}


def batches(sizes, shape, seed=0, centre=0.0):
    generator = torch.Generator().manual_seed(seed)
    # Means far from zero, and scales that differ: where sums of squares would lose digits.
    channels = torch.arange(1.0, shape[0] + 1).view(-1, *(1,) * (len(shape) - 1))
    return [
        torch.randn(size, *shape, generator=generator) * channels + centre * channels
        for size in sizes
    ]


def whole(module, steps):
    """Outputs, gradients and state of torch's module on all samples at once."""
    module = copy.deepcopy(module)
    for parts, slopes in steps:
        x = torch.cat(parts).requires_grad_()
        module.zero_grad()
        y = module(x)
        y.backward(torch.cat(slopes))
    gradients = [p.grad for p in module.parameters()]
    return y.detach(), x.grad, gradients, module.state_dict()


def sharded(module, steps, world):
    """The same on ranks, of which one without samples has a sample that does not count."""

    def work(group):
        own = copy.deepcopy(module)
        for parts, slopes in steps:
            x, slope = parts[group.rank].clone(), slopes[group.rank]
            blank = not len(x)
            if blank:
                x = torch.full((1, *x.shape[1:]), 7.0)
                slope = torch.zeros_like(x)
            x.requires_grad_()
            own.zero_grad()
            with group.as_one_batch(counts=not blank):
                y = own(x)
            y.backward(slope)
            gradients = [p.grad for p in own.parameters()]
            group.add(gradients)
        start = len(x) if blank else 0
        return y.detach()[start:], x.grad[start:], gradients, own.state_dict()

    return on_ranks(world, work)


CASES = {
    "1d": (nn.BatchNorm1d(3), (3,), (4, 2)),
    "1d-time": (nn.BatchNorm1d(3), (3, 5), (4, 2)),
    "2d": (nn.BatchNorm2d(4), (4, 3, 5), (3, 2)),
    "3d": (nn.BatchNorm3d(2), (2, 2, 3, 2), (2, 3)),
    "no samples": (nn.BatchNorm2d(4), (4, 3, 3), (0, 5)),
    "two of three without": (nn.BatchNorm2d(2), (2, 2, 2), (0, 3, 0)),
    "one value each": (nn.BatchNorm1d(3), (3,), (1, 1, 1)),
    "cumulative": (nn.BatchNorm2d(3, momentum=None), (3, 2, 2), (2, 4)),
    "no statistics": (nn.BatchNorm2d(3, track_running_stats=False), (3, 2, 2), (2, 1)),
    "no affine": (nn.BatchNorm2d(3, affine=False, momentum=0.3), (3, 2, 2), (3, 1)),
}


@pytest.mark.parametrize("name", CASES)
def test_ranks_compute_what_one_process_does(name):
    module, shape, sizes = CASES[name]
    module = copy.deepcopy(module)
    if module.affine:
        nn.init.uniform_(module.weight, 0.5, 2.0)
        nn.init.uniform_(module.bias, -1.0, 1.0)
    # Three steps, so that running statistics and counters have something to carry on.
    steps = [(batches(sizes, shape, s, 30.0), batches(sizes, shape, s + 10)) for s in range(3)]
    y, dx, gradients, state = whole(module, steps)
    ranks = sharded(module, steps, len(sizes))
    torch.testing.assert_close(torch.cat([rank[0] for rank in ranks]), y, rtol=1e-5, atol=2e-5)
    scale = float(dx.abs().max())
    torch.testing.assert_close(
        torch.cat([rank[1] for rank in ranks]) / scale, dx / scale, rtol=1e-4, atol=2e-5
    )
    for rank in ranks:
        for ours, theirs in zip(rank[2], gradients, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-3)
        assert rank[3].keys() == state.keys()
        for key, value in state.items():
            torch.testing.assert_close(rank[3][key], value, **CLOSE)
            torch.testing.assert_close(rank[3][key], ranks[0][3][key], **WITHOUT)


def test_evaluation_stays_this_ranks_own():
    module = nn.BatchNorm2d(3).eval()
    x = batches([2], (3, 2, 2))[0]

    def work(group):
        if group.rank:
            return None
        with group.as_one_batch(counts=True):
            return module(x)

    # The other rank takes no part, so that a collective would never end.
    torch.testing.assert_close(on_ranks(2, work)[0], module(x), **WITHOUT)


def test_one_value_in_all_is_refused_on_every_rank_alike():
    def work(group):
        module = nn.BatchNorm1d(3)
        before = copy.deepcopy(module.state_dict())
        with group.as_one_batch(counts=group.rank == 0), pytest.raises(ValueError, match="1 value"):
            module(torch.ones(1, 3))
        return before["running_mean"].equal(module.running_mean)

    assert on_ranks(2, work) == [True, True]


def test_what_a_rank_without_samples_has_does_not_count_even_when_it_is_not_finite():
    def work(group):
        module = nn.BatchNorm1d(2)
        blank = group.rank == 1
        x = torch.tensor([[1.0, 2.0], [3.0, 5.0]]) if not blank else torch.full((1, 2), torch.nan)
        x.requires_grad_()
        with group.as_one_batch(counts=not blank):
            y = module(x)
        y.backward(torch.ones_like(y) * x.detach())
        return y.detach(), x.grad, module.running_var

    (y, dx, var), (_, _, other) = on_ranks(2, work)
    assert y.isfinite().all()
    assert dx.isfinite().all()
    assert var.equal(other)

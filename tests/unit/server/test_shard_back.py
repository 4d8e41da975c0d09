"""A step of replicas on several ranks against a step of one back half on all batches."""

import pytest
import torch

from harness.offline import kept_bundle
from harness.ranks import on_ranks
from slfac.server.back import BackHalf, Batch
from slfac.server.losses import per_sample_loss
from slfac.wire.factories import DEFAULT_ALLOWED

SPEC = "sgd:lr=0.05,momentum=0.9"


def batches(bundle, sizes, seed=0):
    """One a device; nobody's sizes need be alike."""
    generator = torch.Generator().manual_seed(seed)
    shape, classes = bundle.manifest.smashed[0].shape, bundle.manifest.num_outputs
    return [
        Batch(
            (torch.randn(size, *shape, generator=generator).relu(),),
            torch.randint(0, classes, (size,), generator=generator).numpy(),
        )
        for size in sizes
    ]


def train(bundle, steps, shards, spec=SPEC):
    """On each rank, weights after some steps, and what each device got back in each."""
    # Rebuilding one is nothing that threads can do at the same time.
    backs = [BackHalf(bundle, spec, DEFAULT_ALLOWED) for _ in shards]

    def work(group):
        back = backs[group.rank]
        back.peers = group
        outcomes = [back.step([step[device] for device in shards[group.rank]]) for step in steps]
        return back.module.state_dict(), outcomes

    return on_ranks(len(shards), work)


def train_alone(bundle, steps, spec=SPEC):
    back = BackHalf(bundle, spec, DEFAULT_ALLOWED)
    return back.module.state_dict(), [back.step(step) for step in steps]


def check_same(bundle, steps, shards):
    weights, whole = train_alone(bundle, steps)
    ranks = train(bundle, steps, shards)
    for state, _ in ranks:
        for name, value in weights.items():
            torch.testing.assert_close(state[name], value, rtol=0, atol=1e-6)
            assert state[name].equal(ranks[0][0][name]), name
    for number, outcomes in enumerate(whole):
        ours = [outcome for _, rank in ranks for outcome in rank[number]]
        for one, other in zip(ours, outcomes, strict=True):
            assert (one is None) == (other is None)
            if one is not None:
                assert one.loss == pytest.approx(other.loss, abs=1e-5)
                torch.testing.assert_close(one.gradients, other.gradients, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_sixty_steps_of_three_and_one_devices(batch_norm, bn_bundle):
    bundle = bn_bundle if batch_norm else kept_bundle()
    # The last batch of a pass is smaller.
    steps = [batches(bundle, (8, 8, 8 - number % 3, 8), number) for number in range(60)]
    check_same(bundle, steps, [[0, 1, 2], [3]])


@pytest.mark.parametrize("shards", [[[0], [], [1, 2]], [[], [], [0, 1, 2]]])
def test_a_rank_without_devices_keeps_step(shards, bn_bundle):
    check_same(bn_bundle, [batches(bn_bundle, (3, 4, 2), n) for n in range(3)], shards)


def infinite_beyond_100(loss, output, target):
    """A loss that overflows for outputs which no other device has."""
    losses = per_sample_loss(loss, output, target)
    return torch.where(output.abs().amax(1) > 100, torch.inf, losses)


@pytest.mark.parametrize("shards", [[[0, 1, 2], [3]], [[1, 2], [0], [3]]])
@pytest.mark.parametrize("bad", ["data beyond bounds", "a loss that is not finite"])
def test_a_device_that_is_left_out_is_left_out_on_all_ranks(shards, bad, bn_bundle, monkeypatch):
    bundle = kept_bundle() if bad == "a loss that is not finite" else bn_bundle
    steps = [batches(bundle, (4, 4, 4, 4), number) for number in range(3)]
    target = steps[1][3].target
    if bad == "a loss that is not finite":
        monkeypatch.setattr("slfac.server.back.per_sample_loss", infinite_beyond_100)
        steps[1][3] = Batch((torch.full_like(steps[1][3].smashed[0], 1e5),), target)
    else:
        steps[1][3] = Batch((steps[1][3].smashed[0] * 1e9,), target)
    order = [device for shard in shards for device in shard]
    steps = [[step[device] for device in order] for step in steps]
    places = [[order.index(device) for device in shard] for shard in shards]
    check_same(bundle, steps, places)


def test_when_nobody_is_left_the_weights_stay():
    bundle = kept_bundle()
    step = [Batch((b.smashed[0] * 1e9,), b.target) for b in batches(bundle, (2, 2))]
    before = BackHalf(bundle, SPEC, DEFAULT_ALLOWED).module.state_dict()
    for state, outcomes in train(bundle, [step], [[0], [1]]):
        assert outcomes == [[None]]
        assert all(state[name].equal(value) for name, value in before.items())


def test_gradients_are_clipped_by_the_norm_over_all_ranks():
    bundle = kept_bundle()
    steps = [batches(bundle, (8, 2), number) for number in range(5)]
    spec = "sgd:lr=0.5,clip_norm=0.05"
    weights, _ = train_alone(bundle, steps, spec)
    for state, _ in train(bundle, steps, [[0], [1]], spec):
        for name, value in weights.items():
            torch.testing.assert_close(state[name], value, rtol=0, atol=1e-6)

"""A step of the back half in portions against the whole step, and against torch."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from harness.offline import kept_bundle
from slfac.server.back import BackHalf, Batch, Portion
from slfac.wire.errors import TrainingError

ALLOW = ("slfac.export.models",)
SIZES = (8, 3, 5)


def make(spec="sgd:lr=0.1,momentum=0.9"):
    return BackHalf(kept_bundle(), spec, ALLOW)


def batches(seed=0, sizes=SIZES):
    rng = np.random.default_rng(seed)
    return [
        Batch(
            (torch.from_numpy(rng.normal(size=(size, 4, 4, 4)).astype(np.float32)),),
            rng.integers(0, 4, size),
        )
        for size in sizes
    ]


def in_parts(whole, parts):
    """Each device's batch in parts, the last parts missing where there are too few samples."""
    cut = []
    for part in range(parts):
        row = {}
        for index, batch in enumerate(whole):
            size = len(batch.target)
            count = min(parts, size)
            span = slice(size * part // count, size * (part + 1) // count)
            if part < count:
                smashed = tuple(tensor[span] for tensor in batch.smashed)
                row[index] = Batch(smashed, batch.target[span], size)
        cut.append(row)
    return cut


def step_in_parts(back, rows):
    """Loss and gradients of each device, put together from those of its parts."""
    told = {}
    for number, row in enumerate(rows):
        portion = Portion(sum(SIZES), first=number == 0, last=number == len(rows) - 1)
        for index, outcome in zip(row, back.step(list(row.values()), portion), strict=True):
            told.setdefault(index, []).append((outcome, len(row[index].target)))
    return {
        index: (
            np.average([o.loss for o, _ in parts], weights=[size for _, size in parts]),
            torch.cat([o.gradients[0] for o, _ in parts]),
        )
        for index, parts in told.items()
    }


def weights(back):
    return torch.cat([parameter.detach().flatten() for parameter in back.module.parameters()])


@pytest.mark.parametrize("parts", [1, 2, 4, 8])
@pytest.mark.parametrize("spec", ["sgd:lr=0.1,momentum=0.9", "adam:lr=0.01", "sgd:clip_norm=0.1"])
def test_steps_in_parts_are_the_steps_of_whole_batches(parts, spec):
    one, many = make(spec), make(spec)
    for seed in range(3):
        whole = batches(seed)
        expected = one.step(whole)
        told = step_in_parts(many, in_parts(whole, parts))
        for index, outcome in enumerate(expected):
            loss, gradient = told[index]
            assert loss == pytest.approx(outcome.loss, rel=1e-5)
            assert torch.allclose(gradient, outcome.gradients[0], rtol=1e-4, atol=1e-6)
    assert torch.allclose(
        weights(many), weights(one), atol=1e-6 if spec != "adam:lr=0.01" else 1e-4
    )


def test_a_step_in_parts_is_torchs_step_on_the_mean_of_all():
    back, twin = make("sgd:lr=0.1"), make().module
    whole = batches()
    told = step_in_parts(back, in_parts(whole, 3))
    x = torch.cat([batch.smashed[0] for batch in whole]).requires_grad_()
    target = torch.from_numpy(np.concatenate([batch.target for batch in whole]))
    functional.cross_entropy(twin(x), target).backward()
    for trained, before in zip(back.module.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(trained, before - 0.1 * before.grad, atol=1e-6)
    own = torch.split(x.grad, SIZES)
    for index, size in enumerate(SIZES):
        scaled = own[index] * (sum(SIZES) / size)
        assert torch.allclose(told[index][1], scaled, rtol=1e-4, atol=1e-6)


def test_the_weights_move_with_the_last_part_only():
    back = make()
    before = weights(back)
    rows = in_parts(batches(), 4)
    for number, row in enumerate(rows):
        assert torch.equal(weights(back), before), number
        back.step(list(row.values()), Portion(sum(SIZES), first=number == 0, last=number == 3))
    assert not torch.equal(weights(back), before)


def test_a_step_that_was_left_unfinished_leaves_nothing_behind():
    one, other = make(), make()
    back_rows = in_parts(batches(5), 4)
    other.step(list(back_rows[0].values()), Portion(sum(SIZES), first=True, last=False))
    one.step(batches())
    other.step(batches())
    assert torch.equal(weights(one), weights(other))


@pytest.mark.parametrize("how", ["huge", "gone"])
def test_of_a_device_that_is_left_out_what_came_before_counts_and_no_more(how):
    back, twin = make("sgd:lr=0.1"), make("sgd:lr=0.1")
    whole = batches()
    rows = in_parts(whole, 4)
    if how == "huge":
        rows[2][0].smashed[0][0] = 1e9
    else:
        del rows[2][0]
    del rows[3][0]
    seen = [row[index] for row in rows for index in row if index or row is not rows[2]]
    for number, row in enumerate(rows):
        outcomes = back.step(list(row.values()), Portion(16, first=number == 0, last=number == 3))
        left_out = [i for i, one in zip(row, outcomes, strict=True) if one is None]
        assert left_out == ([0] if how == "huge" and number == 2 else [])
    twin.step([Batch(batch.smashed, batch.target) for batch in seen])
    assert torch.allclose(weights(back), weights(twin), atol=1e-6)


def test_a_step_whose_last_part_never_came_can_be_ended():
    back, twin = make("sgd:lr=0.1"), make("sgd:lr=0.1")
    rows = in_parts(batches(), 4)
    for number, row in enumerate(rows[:3]):
        back.step(list(row.values()), Portion(16, first=number == 0, last=False))
    assert back.step([], Portion(16, first=False, last=True)) == []
    twin.step([Batch(b.smashed, b.target) for row in rows[:3] for b in row.values()])
    assert torch.allclose(weights(back), weights(twin), atol=1e-6)


def test_a_gradient_that_overflows_over_the_parts_ends_training_and_moves_nothing():
    back = make()
    before = weights(back)
    rows = in_parts(batches(), 2)
    back.step(list(rows[0].values()), Portion(16, first=True, last=False))
    next(back.module.parameters()).grad.flatten()[0] = torch.inf
    with pytest.raises(TrainingError, match="no longer finite"):
        back.step(list(rows[1].values()), Portion(16, first=False, last=True))
    assert torch.equal(weights(back), before)

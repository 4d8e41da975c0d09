"""Both halves take the steps of torch.optim under torch.optim.lr_scheduler."""

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

from harness.offline import kept_bundle
from slfac.codec.schedule import make_schedule
from slfac.device.optim import make_optimizer
from slfac.server.back import BackHalf, Batch

ALLOW = ("slfac.export.models",)
OPTIMIZERS = {
    "sgd:lr=0.1,momentum=0.9,weight_decay=0.01": lambda p: torch.optim.SGD(
        p, lr=0.1, momentum=0.9, weight_decay=0.01
    ),
    "adam:lr=0.01": lambda p: torch.optim.Adam(p, lr=0.01),
    "adamw:lr=0.01": lambda p: torch.optim.AdamW(p, lr=0.01),
}
ROUNDS, STEPS = 6, 5
TOTAL = ROUNDS * STEPS


def warm(then, ticks):
    def make(optimizer):
        first = lr_scheduler.LinearLR(optimizer, 1 / ticks, 1.0, ticks - 1)
        return lr_scheduler.SequentialLR(optimizer, [first, then(optimizer)], [ticks])

    return make


def linear(ticks, final):
    return lambda optimizer: lr_scheduler.LinearLR(optimizer, 1.0, final, ticks)


def cosine(ticks, final):
    def make(optimizer):
        (group,) = optimizer.param_groups
        # A warm-up has lowered the rate by now, and has kept what it was.
        lowest = final * group.get("initial_lr", group["lr"])
        return lr_scheduler.CosineAnnealingLR(optimizer, ticks, eta_min=lowest)

    return make


def falls(ticks, factor):
    return lambda optimizer: lr_scheduler.StepLR(optimizer, ticks, factor)


SCHEDULES = {
    "constant": falls(10**6, 1.0),
    "constant:warmup=2": warm(falls(10**6, 1.0), 2 * STEPS),
    "linear:final=0.1": linear(TOTAL, 0.1),
    "linear:final=0.1,warmup=1": warm(linear(TOTAL - STEPS, 0.1), STEPS),
    "cosine": cosine(TOTAL, 0.0),
    "cosine:warmup=2,final=0.01": warm(cosine(TOTAL - 2 * STEPS, 0.01), 2 * STEPS),
    "step:every=2,factor=0.1": falls(2 * STEPS, 0.1),
    "step:every=1,factor=0.5,warmup=0.4": warm(falls(STEPS, 0.5), 2),
}


def stepped(spec):
    schedule = make_schedule(spec, rounds=ROUNDS, steps_per_round=STEPS)
    for round_ in range(ROUNDS):
        for step in range(STEPS):
            # A device counts on from the round in which it joined.
            yield schedule.share(round_, round_ * STEPS + step)


@pytest.mark.filterwarnings("ignore:The epoch parameter")  # torch's own SequentialLR
@pytest.mark.parametrize("spec", SCHEDULES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_front_takes_the_steps_of_torch(spec, optimizer):
    rng = np.random.default_rng(0)
    ours = {"w": rng.normal(size=(7, 5)).astype(np.float32)}
    theirs = torch.nn.Parameter(torch.from_numpy(ours["w"].copy()))
    oracle = OPTIMIZERS[optimizer]([theirs])
    scheduler = SCHEDULES[spec](oracle)
    numpy_optimizer = make_optimizer(optimizer)
    rate = numpy_optimizer.lr
    for share in stepped(spec):
        grad = rng.normal(size=(7, 5)).astype(np.float32)
        numpy_optimizer.lr = rate * share
        assert numpy_optimizer.lr == pytest.approx(oracle.param_groups[0]["lr"], rel=1e-6, abs=1e-9)
        numpy_optimizer.step(ours, {"w": grad})
        theirs.grad = torch.from_numpy(grad)
        oracle.step()
        scheduler.step()
    np.testing.assert_allclose(ours["w"], theirs.detach().numpy(), atol=2e-6)


@pytest.mark.filterwarnings("ignore:The epoch parameter")  # torch's own SequentialLR
@pytest.mark.parametrize("spec", SCHEDULES)
def test_a_back_takes_the_steps_of_torch(spec):
    name = "sgd:lr=0.1,momentum=0.9,weight_decay=0.01"
    back, twin = (BackHalf(kept_bundle(), name, ALLOW) for _ in range(2))
    oracle = OPTIMIZERS[name](twin.module.parameters())
    scheduler = SCHEDULES[spec](oracle)
    rng = np.random.default_rng(1)
    for share in stepped(spec):
        x = torch.from_numpy(rng.normal(size=(4, 4, 4, 4)).astype(np.float32))
        target = rng.integers(0, 4, 4)
        back.scale_rate(share)
        (group,) = back.optimizer.param_groups
        assert group["lr"] == pytest.approx(oracle.param_groups[0]["lr"], rel=1e-6, abs=1e-9)
        back.step([Batch((x,), target)])
        oracle.zero_grad()
        loss = torch.nn.functional.cross_entropy(twin.module(x), torch.from_numpy(target))
        loss.backward()
        oracle.step()
        scheduler.step()
    for ours, theirs in zip(back.module.parameters(), twin.module.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)

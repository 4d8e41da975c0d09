"""Rounds whose steps come in parts, under devices that are lost amid a step; see harness.script."""

import functools
import itertools

import numpy as np
import pytest
import torch

from harness.offline import kept_bundle
from harness.script import BYE, Script, run_script
from slfac.server.back import BackHalf, Batch
from slfac.server.events import Left, Lost, Restarted

SIZES = {0: (2, 2, 1), 1: (2, 1)}


@pytest.fixture
def train(tmp_path):
    return functools.partial(run_script, tmp_path, micro_batches=3, rounds=1)


def both(script, steps=2):
    for index, sizes in SIZES.items():
        script.obey_in_parts(index, sizes, steps)
        script.join(index)
    return script


def weights(back):
    return {name: tensor.clone() for name, tensor in back.module.state_dict().items()}


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def close(one, other, atol=1e-6):
    return all(torch.allclose(one[name], other[name], atol=atol) for name in one)


def samples(index, count):
    """The first samples of a device's batch."""
    total = sum(SIZES[index])
    x = np.random.default_rng(index).normal(size=(total, 4, 4, 4)).astype(np.float32)
    return Batch((torch.from_numpy(x[:count]),), np.zeros(count, np.int64))


def stepped(*batches):
    """The back half after one step on these."""
    back = BackHalf(kept_bundle(), "sgd:lr=0.01", ("slfac.export.models",))
    back.step(batches)
    return weights(back)


def lines(trainer):
    return [e for e in trainer.told if e["event"] == "step"]


def test_steps_of_different_numbers_of_parts_are_one_step_of_all(train):
    script = both(Script(), steps=1)
    trainer = train(script)
    assert script.refused == []
    assert close(weights(trainer.back), stepped(samples(0, 5), samples(1, 3)))
    told = {e["device"]: (e["parts"], e["samples"], e["training"]) for e in lines(trainer)}
    assert told == {"d0": (3, 5, 0), "d1": (2, 3, 0)}
    totals = trainer.ledger.totals
    assert [(totals[n].steps, totals[n].samples) for n in ("d0", "d1")] == [(1, 5), (1, 3)]
    (entry,) = trainer.rounds
    losses = {e["samples"]: e["loss"] for e in lines(trainer)}
    assert entry.train_loss == pytest.approx((5 * losses[5] + 3 * losses[3]) / 8)


def by_hand(script, index, go_on):
    """A device that sends its first part; ``go_on`` is told the number of each answer to one."""
    answers = itertools.count(1)

    def then(header):
        if header.directive == "stop":
            script.events.put(Left(index, BYE))
        elif header.kind == "join":
            script.part(index, 0, SIZES[index])
        else:
            go_on(next(answers))

    script.then[index] = then
    script.join(index)


def test_a_part_is_answered_before_the_next_ones_are_in(train):
    script = Script()

    def next_one(index, number):
        if number < len(SIZES[index]):
            script.part(index, number, SIZES[index])
        else:
            script.front(index)

    for index in SIZES:
        by_hand(script, index, functools.partial(next_one, index))
    trainer = train(script)
    assert close(weights(trainer.back), stepped(samples(0, 5), samples(1, 3)))


def restart(script, index):
    """A device is killed; it resumes its round and makes all of it again."""
    script.events.put(Restarted(index))
    script.sessions[index] += 50
    script.seqs[index] = script.steps[index] = 0
    script.obey_in_parts(index, SIZES[index], steps=2)
    again = script.then[index]

    def then(header):
        # Nobody hears the answers to the session that is gone.
        if header.session == script.sessions[index]:
            again(header)

    script.then[index] = then
    script.ask(index, "resume", round=0, step=0)


@pytest.mark.parametrize("answers", range(1, 7))
def test_a_device_that_is_killed_amid_a_step_leaves_no_trace(train, answers):
    expected = train(both(Script()), out="undisturbed")
    script, parts = both(Script()), len(SIZES[0])

    def killed(header):
        number = 0 if header.kind == "join" else next(numbers)
        if number == answers:
            restart(script, 0)
        else:
            # One at a time, so that the step has not gone on without it by then.
            script.part(0, number % parts, SIZES[0])

    numbers = itertools.count(1)
    script.then[0] = killed
    trainer = train(script)
    assert script.refused == []
    assert same(weights(trainer.back), weights(expected.back))
    told = [{(e["device"], e["step"]): e for e in lines(one)} for one in (expected, trainer)]
    assert told[0].keys() == told[1].keys()
    for at, line in told[0].items():
        assert line["samples"] == told[1][at]["samples"]
        assert line["loss"] == told[1][at]["loss"]
    assert len(lines(trainer)) == len(told[1]), "each step stands in the metrics once"


@pytest.mark.parametrize(("lost", "left"), [(0, 2), (1, 2)])
def test_what_a_lost_device_had_sent_of_a_step_stays_in_it(train, lost, left):
    script = Script()
    other = 1 - lost
    script.obey_in_parts(other, SIZES[other])
    script.join(other)

    def then(header):
        if header.kind == "join":
            script.part(lost, 0, SIZES[lost])
        else:
            script.events.put(Lost(lost, "gone"))

    script.then[lost] = then
    script.join(lost)
    trainer = train(script)
    assert left == SIZES[lost][0]
    seen = {lost: samples(lost, left), other: samples(other, sum(SIZES[other]))}
    assert close(weights(trainer.back), stepped(seen[0], seen[1]))
    assert [entry.devices for entry in trainer.rounds] == [1]


def test_a_step_ends_without_the_one_device_that_it_still_waited_for(train):
    script = Script()
    script.obey_in_parts(1, SIZES[1])
    script.join(1)

    def then(header):
        if header.kind == "join":
            script.part(0, 0, SIZES[0])
            script.part(0, 1, SIZES[0])
        elif header.seq == 3:
            # All parts of the other are answered; a third of this one never comes.
            script.events.put(Lost(0, "gone"))

    script.then[0] = then
    script.join(0)
    trainer = train(script)
    assert close(weights(trainer.back), stepped(samples(0, 4), samples(1, 3)))


def test_a_device_whose_part_is_bad_is_refused_and_the_other_goes_on(train):
    script = Script()
    script.obey_in_parts(1, SIZES[1])
    script.join(1)

    def then(header):
        if header.kind == "join":
            script.part(0, 0, SIZES[0])
            script.part(0, 1, SIZES[0], scale=1e25)

    script.then[0] = then
    script.join(0, session=44)
    trainer = train(script)
    ((index, session, reason),) = script.refused
    assert (index, session) == (0, 44)
    assert "its data exceeds" in reason
    assert close(weights(trainer.back), stepped(samples(0, 2), samples(1, 3)))


@pytest.mark.parametrize(
    "sizes_and_claims",
    [[(2, 2), {"step_samples": 9}], [(2, 2), {"step_samples": 1}], [(20, 20), {}]],
)
def test_parts_that_do_not_add_up_are_refused(train, sizes_and_claims):
    sizes, claims = sizes_and_claims
    script = Script()
    script.obey_in_parts(1, SIZES[1])
    script.join(1)

    def then(header):
        if header.kind == "join":
            for part in range(len(sizes)):
                script.part(0, part, sizes, **claims)

    script.then[0] = then
    script.join(0)
    trainer = train(script)
    index, _, reason = script.refused[0]
    assert index == 0
    assert "samples came in" in reason
    assert [entry.devices for entry in trainer.rounds] == [1]


def test_who_owes_a_part_is_refused_and_not_who_has_sent_all_of_his(train):
    script = Script()
    script.obey_in_parts(1, SIZES[1])
    script.join(1)
    script.then[0] = lambda header: header.kind == "join" and script.part(0, 0, SIZES[0])
    script.join(0, session=44)
    train(script, step_timeout_s=0.2)
    assert script.refused == [(0, 44, "no request for 0.2 s while the others waited")]


def test_copies_step_by_themselves_while_others_owe_parts(train):
    script = Script()
    script.obey_in_parts(1, SIZES[1], steps=2)
    obedient, answers = script.then[1], itertools.count()

    def all_but_last(header):
        if header.kind == "step" and next(answers) == 3:
            # Both steps of this one were made; the other has been answered to one part.
            script.part(0, 1, SIZES[0])
            script.part(0, 2, SIZES[0])
        obedient(header)

    script.then[1] = all_but_last
    script.join(1)
    by_hand(script, 0, lambda number: number == 3 and script.front(0))
    trainer = train(script, mode="sfl-v1")
    assert [entry.devices for entry in trainer.rounds] == [2]
    assert script.refused == []

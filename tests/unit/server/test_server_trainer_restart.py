"""Rounds under devices and servers that were killed and start again; see harness.script."""

import functools
import itertools
import threading

import numpy as np
import pytest
import torch

from harness.script import BYE, Script, run_script
from slfac.server.events import Left, Lost, Restarted


@pytest.fixture
def train(tmp_path):
    return functools.partial(run_script, tmp_path)


def resume(script, index, round_, session=50, step=0):
    """A device that was killed: its next session asks for the round that it has kept."""
    script.events.put(Restarted(index))
    script.sessions[index] = session
    script.seqs[index] = 0
    script.steps[index] = step
    script.rounds[index] = round_
    script.ask(index, "resume")


def weights(back):
    return {name: tensor.clone() for name, tensor in back.module.state_dict().items()}


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def follow(script, index, steps, then):
    """Obey for the first ``steps`` answers, then do ``then`` once, then obey what comes."""
    script.obey(index, steps=2)
    obedient, heard = script.then[index], itertools.count(1)

    def listen(header):
        if next(heard) == steps:
            script.obey(index, steps=2)
            then()
        else:
            obedient(header)

    script.then[index] = listen
    script.join(index)


def test_a_device_that_restarts_in_its_round_gets_its_replies_again_and_trains_nothing_twice(train):
    undisturbed, script = Script(), Script()
    for index in range(2):
        undisturbed.obey(index, steps=2)
        undisturbed.join(index)
    expected = train(undisturbed, out="undisturbed")

    script.obey(0, steps=2)
    script.join(0)
    # Answered to joining and to its first step, it is killed and begins its round again.
    follow(script, 1, 2, lambda: resume(script, 1, 0))
    trainer = train(script)
    assert script.refused == []
    assert script.directives(1)[:5] == [
        ("join", 0, "train"),
        ("step", 0, "train"),
        ("resume", 0, "train"),
        ("step", 0, "train"),
        ("step", 0, "train"),
    ]
    first, again = script.bodies[1][1], script.bodies[1][3]
    assert first == again
    assert first != script.bodies[1][4]
    assert [entry.devices for entry in trainer.rounds] == [2, 2]
    assert [e["samples"] for e in trainer.told if e["event"] == "step"] == [2] * 8
    assert same(weights(trainer.back), weights(expected.back))
    assert [r.train_loss for r in trainer.rounds] == [r.train_loss for r in expected.rounds]
    (back,) = [e for e in trainer.told if e["event"] == "resumed"]
    assert (back["device"], back["round"]) == ("d1", 0)


def test_kept_replies_leave_the_back_half_as_it_is(train):
    script = Script()
    seen = []

    def peek():
        seen.append(weights(script.trainer.back))

    def again():
        peek()
        resume(script, 0, 0)

    def then(header):
        if header.kind == "resume":
            script.step(0)
        elif header.kind == "step":
            peek()
            script.front(0)
        else:
            script.events.put(Left(0, BYE))

    def trained(_):
        script.then[0] = then
        again()

    script.then[0] = lambda _: (setattr(script, "start", weights(script.trainer.back)), first())

    def first():
        script.then[0] = trained
        script.step(0)

    script.join(0)
    train(script, devices=1, rounds=1)
    before, after = seen
    assert same(before, after)
    assert not same(script.start, after)


def test_a_device_one_round_behind_gets_its_replies_again_and_then_the_average(train):
    script = Script()
    script.obey(0, steps=2)
    script.join(0)
    # It was sent the front of round 1, and killed before it took that down.
    follow(script, 1, 4, lambda: resume(script, 1, 0))
    trainer = train(script)
    assert script.refused == []
    assert script.directives(1)[3:] == [
        ("front", 1, "train"),
        ("resume", 1, "train"),
        ("step", 0, "train"),
        ("step", 0, "train"),
        ("front", 1, "train"),
        ("step", 1, "train"),
        ("step", 1, "train"),
        ("front", 2, "stop"),
    ]
    assert script.bodies[1][5:8] == script.bodies[1][1:4]
    assert [entry.devices for entry in trainer.rounds] == [2, 2]
    assert sum(e["event"] == "step" for e in trainer.told) == 8


def test_who_missed_the_last_front_may_begin_the_last_round_again(train):
    script = Script()
    script.obey(0, steps=2)
    script.join(0)
    follow(script, 1, 4, lambda: resume(script, 1, 0))
    train(script, rounds=1)
    assert script.directives(1)[-4:] == [
        ("resume", 1, "train"),
        ("step", 0, "train"),
        ("step", 0, "train"),
        ("front", 1, "stop"),
    ]


def answer_only(script, index, told):
    """Take note of the answer to a resume, then join."""

    def then(header):
        told.append((header.kind, header.round, header.directive))
        script.obey(index, steps=2)
        script.join(index, session=51)

    script.then[index] = then


def test_a_device_ahead_of_the_server_is_told_the_servers_round(train):
    script = Script()
    script.obey(0, steps=2)
    script.join(0)
    told = []

    def ahead():
        answer_only(script, 1, told)
        resume(script, 1, 7)

    follow(script, 1, 2, ahead)
    trainer = train(script)
    assert told == [("resume", 0, "join")]
    assert [entry.devices for entry in trainer.rounds] == [1, 2]


def test_who_left_cannot_come_back_into_a_round_that_has_begun(train):
    script = Script()
    script.obey(0, steps=5)
    script.join(0)
    told = []

    def lost():
        script.events.put(Lost(1, "its connection is gone"))
        answer_only(script, 1, told)
        resume(script, 1, 0)

    follow(script, 1, 2, lost)
    trainer = train(script)
    assert told == [("resume", 0, "join")]
    assert [entry.devices for entry in trainer.rounds] == [1, 2]


def test_who_left_comes_back_as_long_as_nothing_was_trained(train):
    script = Script()
    held = []
    script.then[0] = held.append
    script.join(0)

    def lost():
        obedient = script.then[1]

        def both_go_on(header):
            script.obey(0, steps=2)
            script.then[0](*held)
            script.then[1] = obedient
            obedient(header)

        script.then[1] = both_go_on
        script.events.put(Lost(1, "its connection is gone"))
        resume(script, 1, 0)

    follow(script, 1, 1, lost)
    trainer = train(script)
    assert script.directives(1)[:2] == [("join", 0, "train"), ("resume", 0, "train")]
    assert [entry.devices for entry in trainer.rounds] == [2, 2]


def test_nobody_begins_a_run_by_resuming(train):
    script = Script()
    told = []
    answer_only(script, 1, told)
    resume(script, 1, 0)
    script.obey(0)
    script.join(0)
    trainer = train(script)
    assert told == [("resume", 0, "join")]
    assert [entry.devices for entry in trainer.rounds] == [2, 2]


def restart_and_join(script, index):
    script.events.put(Restarted(index))
    script.steps[index] = 0
    script.join(index, session=50)


def test_who_restarts_and_has_kept_nothing_joins_the_next_round(train):
    script = Script()
    script.obey(0, steps=2)
    script.join(0)
    follow(script, 1, 2, lambda: restart_and_join(script, 1))
    trainer = train(script)
    assert script.refused == []
    assert script.directives(1)[2] == ("join", 1, "train")
    assert [entry.devices for entry in trainer.rounds] == [1, 2]
    (left,) = [e["reason"] for e in trainer.told if e["event"] == "left" and e["device"] == "d1"][
        :1
    ]
    assert left == "it started again, and kept nothing of this run"


def test_who_restarts_before_anything_was_trained_keeps_its_place(train):
    script = Script()
    script.obey(0, steps=2)
    script.join(0)
    # Killed before it could take down the front that it was sent.
    follow(script, 1, 1, lambda: restart_and_join(script, 1))
    trainer = train(script)
    assert script.directives(1)[:2] == [("join", 0, "train"), ("join", 0, "train")]
    assert [entry.devices for entry in trainer.rounds] == [2, 2]


def test_who_opens_a_session_and_asks_for_nothing_is_not_waited_for(train):
    script = Script()
    script.obey(0, steps=2)
    script.join(0)
    follow(script, 1, 2, lambda: script.events.put(Restarted(1)))
    trainer = train(script, step_timeout_s=0.2)
    assert [entry.devices for entry in trainer.rounds] == [1, 1]
    reasons = [e["reason"] for e in trainer.told if e["event"] == "left" and e["device"] == "d1"]
    assert reasons == ["it did not come back"]


def test_who_has_to_load_for_longer_than_a_connection_may_be_gone_keeps_its_place(train):
    script = Script()
    script.obey(0, steps=2)
    script.join(0)

    def load_and_resume():
        script.events.put(Restarted(1))
        # Any event makes the trainer look who stayed away for too long.
        threading.Timer(0.2, script.events.put, (None,)).start()
        threading.Timer(0.4, resume, (script, 1, 0)).start()

    follow(script, 1, 2, load_and_resume)
    trainer = train(script, grace_s=0.05)
    assert [entry.devices for entry in trainer.rounds] == [2, 2]


def test_who_breaks_down_at_the_same_step_each_time_is_not_waited_for_for_ever(train):
    script = Script()
    script.obey(0, steps=2)
    script.join(0)

    def break_down(header=None):
        if header is not None and header.directive == "join":
            return
        script.then[1] = break_down
        resume(script, 1, 0)

    follow(script, 1, 2, break_down)
    trainer = train(script)
    assert [entry.devices for entry in trainer.rounds] == [1, 1]
    reasons = [e["reason"] for e in trainer.told if e["event"] == "left" and e["device"] == "d1"]
    assert reasons == ["it started 10 times without making another step"]


def test_a_request_before_its_device_was_taken_back_is_refused(train):
    script = Script()
    script.obey(0, steps=2)
    script.join(0)

    def step_at_once():
        script.events.put(Restarted(1))
        script.sessions[1] = 50
        script.step(1)

    follow(script, 1, 2, step_at_once)
    trainer = train(script)
    assert [entry.devices for entry in trainer.rounds] == [1, 1]
    ((index, session, reason),) = script.refused
    assert (index, session) == (1, 50)
    assert reason == "a step request came before its device was taken back"


def again(script):
    script.steps[1] -= 1
    script.step(1)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (lambda script: script.ask(1, "resume"), "a device that is in the run asked to resume"),
        (again, "step 0 came after step 0"),
    ],
)
def test_who_asks_over_and_over_holds_up_nobody(train, fault, words):
    script = Script()
    script.obey(0, steps=2)
    script.join(0)
    follow(script, 1, 2, lambda: fault(script))
    trainer = train(script)
    assert [entry.devices for entry in trainer.rounds] == [1, 1]
    assert [reason for _, _, reason in script.refused] == [words]


def test_a_step_of_an_older_round_that_was_never_answered_is_refused(train):
    script = Script()
    script.obey(0, steps=2)
    script.join(0)

    def go_back():
        script.rounds[1] = 0
        script.step(1)

    follow(script, 1, 4, go_back)
    trainer = train(script)
    assert [entry.devices for entry in trainer.rounds] == [2, 1]
    ((index, _, reason),) = script.refused
    assert (index, reason) == (1, "a step of round 0 came in round 1")


class Killed(BaseException):
    """Ends a server without a word."""


@pytest.mark.parametrize(
    ("heard", "behind"), [*((n, 0) for n in range(1, 9)), *((n, 1) for n in (4, 5, 7, 8))]
)
def test_a_server_that_goes_on_from_its_checkpoint_ends_with_the_same_weights(train, heard, behind):
    """Killed after any of device 1's answers; device 1 may begin the round before again."""
    # It remembers what it has spent, and the next gradient depends on that.
    codec = "slfac-rd:budget=200"
    undisturbed, script = Script(), Script()
    for index in range(2):
        undisturbed.obey(index, steps=2)
        undisturbed.join(index)
    expected = train(undisturbed, rounds=3, codec_down=codec, out="undisturbed")

    def die():
        raise Killed

    script.obey(0, steps=2)
    script.join(0)
    follow(script, 1, heard, die)
    with pytest.raises(Killed):
        train(script, rounds=3, codec_down=codec)
    # The newest round whose front both were sent, and the step that it began with.
    round_ = min(max(r for kind, r, _ in script.directives(i) if kind != "step") for i in range(2))

    second = Script()
    for index in range(2):
        second.obey(index, steps=2)
        own = round_ - behind * index
        resume(second, index, own, session=60 + index, step=2 * own)
    trainer = train(second, rounds=3, codec_down=codec, resume=True)
    assert second.refused == []
    assert [entry.devices for entry in trainer.rounds] == [2, 2, 2]
    # Answers to joining and to each round's two steps and front.
    for index in range(2):
        answered = 1 + 3 * (round_ - behind * index)
        assert second.bodies[index][1:] == undisturbed.bodies[index][answered:]
    assert same(weights(trainer.back), weights(expected.back))
    for name, tensor in expected.front.items():
        np.testing.assert_array_equal(trainer.front[name], tensor)
    samples = [totals.samples for totals in trainer.ledger.totals.values()]
    assert samples == [totals.samples for totals in expected.ledger.totals.values()]

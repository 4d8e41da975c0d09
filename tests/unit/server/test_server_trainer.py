"""Rounds under devices that come, go and misbehave; the I/O thread is a script here."""

import functools
import itertools
import queue
import threading

import numpy as np
import pytest

from harness.script import BYE, Script, run_script
from slfac.server.events import Failed, Left, Lost
from slfac.wire.errors import BundleError, TrainingError
from slfac.wire.messages import Clock
from slfac.wire.meter import Traffic


@pytest.fixture
def train(tmp_path):
    return functools.partial(run_script, tmp_path)


def test_two_obedient_devices(train):
    script = Script()
    for index in range(2):
        script.obey(index, steps=2)
        script.join(index)
    trainer = train(script)
    assert len(trainer.rounds) == 2
    assert [entry.devices for entry in trainer.rounds] == [2, 2]
    assert script.refused == []
    assert set(trainer.summaries) == {0, 1}
    assert script.directives(0) == [
        ("join", 0, "train"),
        ("step", 0, "train"),
        ("step", 0, "train"),
        ("front", 1, "train"),
        ("step", 1, "train"),
        ("step", 1, "train"),
        ("front", 2, "stop"),
    ]


def test_what_devices_say_of_clocks_is_in_the_metrics(train):
    script = Script()
    for index in range(2):
        script.obey(index)
    script.join(0, clock=(Clock(-5.5, 0.25),))
    script.join(1)
    obey = script.then[1]

    def then(header):
        if header.kind == "step" and header.round == 1:
            script.front(1, clock=(Clock(7.0, 1.0),))
        else:
            obey(header)

    script.then[1] = then
    told = train(script).told
    known = {"offset_ms": -5.5, "round_trip_ms": 0.25}
    joined = {e["device"]: e for e in told if e["event"] == "joined"}
    assert (joined["d0"]["clock"], joined["d1"]["clock"]) == (known, None)
    first, second = (e["clocks"] for e in told if e["event"] == "round")
    assert first == {"d0": known, "d1": None}
    assert second == {"d0": known, "d1": {"offset_ms": 7.0, "round_trip_ms": 1.0}}


def test_who_is_lost_in_mid_round_leaves_the_others_going_and_joins_the_next_round(train):
    script = Script()
    script.obey(0)

    def vanish(_):
        script.events.put(Lost(1, "its connection is gone"))
        script.obey(1)
        script.join(1, session=50)

    script.then[1] = vanish
    script.join(0)
    script.join(1)
    trainer = train(script)
    assert [entry.devices for entry in trainer.rounds] == [1, 2]
    assert script.directives(1) == [
        ("join", 0, "train"),
        ("join", 1, "train"),
        ("step", 1, "train"),
        ("front", 2, "stop"),
    ]


def test_after_all_were_lost_one_that_comes_back_starts_the_round_again(train):
    script = Script()
    for index in range(2):
        script.then[index] = lambda _: None
        script.join(index)

    def both_vanish(_):
        for index in range(2):
            script.events.put(Lost(index, "gone"))
        script.obey(1)
        script.join(1, session=50)

    script.then[1] = both_vanish
    trainer = train(script)
    assert [entry.devices for entry in trainer.rounds] == [1, 1]
    assert script.directives(1)[1] == ("join", 0, "train")


def test_who_loses_its_session_over_the_last_front_gets_it_again(train):
    script = Script()
    script.obey(0)
    script.obey(1)
    obedient = dict(script.then)

    def goodbyes(_):
        script.events.put(Left(1, BYE))
        script.events.put(Left(0, BYE))

    def miss_the_last(header):
        if header.directive != "stop":
            obedient[1](header)
            return
        script.events.put(Lost(1, "it started again"))
        script.then[1] = goodbyes
        script.join(1, session=50)

    script.then[0] = lambda header: header.directive == "stop" or obedient[0](header)
    script.then[1] = miss_the_last
    script.join(0)
    script.join(1)
    train(script)
    assert script.directives(1)[-2:] == [("front", 2, "stop"), ("join", 2, "stop")]


def test_a_device_that_joins_twice_is_refused_and_stalls_nobody(train):
    script = Script()
    script.obey(0)
    script.then[1] = lambda _: script.ask(1, "join")
    script.join(0)
    script.join(1)
    trainer = train(script)
    assert [entry.devices for entry in trainer.rounds] == [1, 1]
    ((index, session, reason),) = script.refused
    assert (index, session) == (1, 2)
    assert "asked to join again" in reason


@pytest.mark.parametrize("fault", ["batch", "run", "front"])
def test_a_device_that_sends_nonsense_is_refused_by_its_session_and_the_other_goes_on(train, fault):
    script = Script()
    script.obey(0)
    faults = {
        "batch": lambda _: script.step(1, samples=100),
        "run": lambda _: script.step(1, run="another"),
        "front": lambda _: script.front(1, samples=0),
    }
    script.then[1] = faults[fault]
    script.join(0)
    script.join(1, session=44)
    trainer = train(script)
    assert [entry.devices for entry in trainer.rounds] == [1, 1]
    assert [entry[:2] for entry in script.refused] == [(1, 44)]


def test_a_step_from_who_has_not_joined_is_refused(train):
    script = Script()
    script.sessions[1] = 9
    script.step(1)
    script.obey(0)
    script.obey(1)
    script.join(0)
    script.join(1)
    train(script)
    ((_, _, reason),) = script.refused
    assert "a step request came from a device that has not joined" in reason


def test_too_few_devices_end_the_run_and_are_named(train):
    script = Script()
    script.then[0] = lambda _: None
    script.join(0)
    with pytest.raises(TrainingError, match=r"1 of 2 devices came within 0\.1 s; missing: d1"):
        train(script, join_timeout_s=0.1)


def test_min_devices_may_start_without_the_rest(train):
    script = Script()
    script.obey(0)
    script.join(0)
    trainer = train(script, join_timeout_s=0.1, min_devices=1)
    assert [entry.devices for entry in trainer.rounds] == [1, 1]


def test_a_device_that_comes_and_goes_does_not_put_off_the_time_limit(train):
    script = Script()

    class Flapping(queue.Queue):
        def get(self, **_):
            return Lost(0, "it started again")

    script.events = Flapping()
    with pytest.raises(TrainingError, match="0 of 2 devices came"):
        train(script, join_timeout_s=0.1)


def test_nobody_left_ends_the_run_after_the_idle_time(train):
    script = Script()
    script.then[0] = lambda _: script.events.put(Lost(0, "gone"))
    script.join(0)
    with pytest.raises(TrainingError, match=r"all devices were lost.* within 0\.1 s"):
        train(script, devices=1, idle_timeout_s=0.1)


def test_a_failure_of_the_io_thread_reaches_the_caller(train):
    script = Script()
    script.events.put(Failed(OSError("broken")))
    with pytest.raises(OSError, match="broken"):
        train(script)


def test_training_loss_is_weighted_by_samples(train):
    script = Script()
    sizes = {0: 1, 1: 3}
    for index, size in sizes.items():

        def then(header, index=index, size=size):
            if header.directive == "stop":
                script.events.put(Left(index, BYE))
            elif header.kind == "step":
                script.front(index, samples=size)
            else:
                script.step(index, samples=size)

        script.then[index] = then
        script.join(index)
    trainer = train(script, rounds=1)
    steps = {e["device"]: e["loss"] for e in trainer.told if e["event"] == "step"}
    expected = (steps["d0"] * 1 + steps["d1"] * 3) / 4
    assert trainer.rounds[0].train_loss == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("scale", [1e25, 1e37])
def test_a_device_with_huge_data_is_refused_and_the_other_goes_on(train, scale):
    script = Script()
    script.obey(0)
    script.then[1] = lambda _: script.step(1, scale=scale)
    script.join(0)
    script.join(1, session=44)
    trainer = train(script)
    assert [entry.devices for entry in trainer.rounds] == [1, 1]
    ((index, session, reason),) = script.refused
    assert (index, session) == (1, 44)
    assert "its data exceeds 1e+06" in reason


def test_huge_data_of_all_devices_is_divergence(train):
    script = Script()
    for index in range(2):
        script.then[index] = lambda _, index=index: script.step(index, scale=1e25)
        script.join(index)
    with pytest.raises(TrainingError, match="diverged; lower the learning rate"):
        train(script)


def told_to(script, index, made):
    """A device that makes one step, then whatever ``made`` does, then says goodbye."""

    def then(header):
        if header.directive == "stop":
            script.events.put(Left(index, BYE))
        elif header.kind == "step":
            made()
        else:
            script.step(index, samples=index + 1)

    script.then[index] = then
    script.join(index)


def test_fronts_are_weighted_by_the_samples_that_the_server_trained_on(train):
    script = Script()
    for index, claimed in enumerate((2**32 - 1, 1)):
        bias = {"conv1.bias": np.full(4, index, np.float32)}
        told_to(script, index, lambda i=index, n=claimed, b=bias: script.front(i, n, **b))
    trainer = train(script, rounds=2)
    # One sample of device 0, two of device 1, in each round afresh.
    assert trainer.front["conv1.bias"] == pytest.approx(np.full(4, 2 / 3))


def test_a_front_that_no_step_of_its_round_is_behind_is_refused(train):
    script = Script()
    script.obey(0)
    script.obey(1)
    obedient = script.then[1]

    def idle_in_the_second_round(header):
        if header.round == 1:
            script.front(1, samples=1000)
        else:
            obedient(header)

    script.then[1] = idle_in_the_second_round
    script.join(0)
    script.join(1)
    trainer = train(script)
    assert [entry.devices for entry in trainer.rounds] == [2, 1]
    ((index, _, reason),) = script.refused
    assert index == 1
    assert "no step of this round is behind" in reason


@pytest.mark.parametrize("owed", ["step", "front"])
def test_a_silent_device_is_refused_once_the_others_have_waited_too_long(train, owed):
    script = Script()
    script.obey(0)
    script.obey(1)
    obedient = script.then[1]

    def fall_silent(header):
        if owed == "front" and header.kind == "join":
            obedient(header)

    script.then[1] = fall_silent
    script.join(0)
    script.join(1, session=44)
    trainer = train(script, step_timeout_s=0.2)
    assert script.refused == [(1, 44, "no request for 0.2 s while the others waited")]
    (left,) = [e for e in trainer.told if e["event"] == "left" and e["device"] == "d1"]
    assert "check that device" in left["reason"]
    assert [entry.devices for entry in trainer.rounds] == [1, 1]


def test_a_slow_device_that_nobody_waits_for_goes_on(train):
    script = Script()
    script.obey(0)
    obedient = script.then[0]
    script.then[0] = lambda header: threading.Timer(0.3, obedient, (header,)).start()
    script.join(0)
    trainer = train(script, devices=1, rounds=1, step_timeout_s=0.1)
    assert script.refused == []
    assert [entry.devices for entry in trainer.rounds] == [1]


def test_a_device_that_trickles_bytes_instead_of_a_goodbye_is_not_waited_for(train, monkeypatch):
    monkeypatch.setattr("slfac.server.trainer._LAST_GOODBYE_S", 0.1)
    heard_bytes = itertools.count()

    class Trickling(Script):
        def traffic(self, _name):
            traffic = Traffic()
            traffic.up.bytes = next(heard_bytes)
            assert traffic.up.bytes < 10, "the server still waits"
            return traffic

    script = Trickling()
    script.obey(0)
    obedient = script.then[0]
    script.then[0] = lambda header: header.directive == "stop" or obedient(header)
    script.join(0)
    assert len(train(script, devices=1, rounds=1).rounds) == 1


def test_a_failed_checkpoint_is_said_and_tried_again_after_the_next_round(train, tmp_path):
    script = Script()
    script.obey(0)
    obedient = script.then[0]
    (tmp_path / "checkpoint").write_text("in the way")

    def clear_the_way(header):
        if header.kind == "front" and header.round == 1:
            (tmp_path / "checkpoint").unlink()
        obedient(header)

    script.then[0] = clear_the_way
    script.join(0)
    trainer = train(script, devices=1, rounds=2)
    failed = [e for e in trainer.told if e["event"] == "checkpoint_failed"]
    assert [e["finished_rounds"] for e in failed] == [0, 1]
    assert [e["best_missed"] for e in failed] == [False, False]
    assert all("cannot write checkpoint" in e["reason"] for e in failed)
    assert trainer.checkpoint == tmp_path / "checkpoint/round-000002"
    assert trainer.checkpoint.is_dir()


def test_a_last_checkpoint_that_fails_is_an_error(train, tmp_path):
    script = Script()
    script.obey(0)
    (tmp_path / "checkpoint").write_text("in the way")
    script.join(0)
    with pytest.raises(TrainingError, match=r"cannot write checkpoint .*round-000002"):
        train(script, devices=1, rounds=2)


@pytest.mark.parametrize("error", [OSError(24, "Too many open files"), BundleError("is gone")])
def test_an_evaluation_that_fails_is_said_and_the_run_goes_on(train, error):
    class Failing:
        def score(self, _front, _back):
            raise error

    script = Script()
    script.obey(0)
    script.join(0)
    trainer = train(script, devices=1, rounds=1, evaluator=Failing())
    assert trainer.rounds[0].score is None
    (failed,) = [e for e in trainer.told if e["event"] == "evaluation_failed"]
    assert (failed["round"], failed["reason"]) == (0, str(error))

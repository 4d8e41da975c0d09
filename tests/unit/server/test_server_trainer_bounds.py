"""A trainer under devices that overdo it, and on a disk that takes no more."""

import functools
import json
import logging
import resource

import numpy as np
import pytest

from harness.offline import front_parts, kept_bundle, step_parts
from harness.script import BYE, Script, run_script
from slfac.server.events import Left, Lost, Restarted
from slfac.server.resume import newest_checkpoint


@pytest.fixture
def train(tmp_path):
    return functools.partial(run_script, tmp_path)


def test_who_steps_on_beyond_the_plan_is_refused_and_keeps_nothing_more(train, tmp_path):
    script = Script()
    script.obey(0, steps=2)
    script.obey(1, steps=1000)
    script.join(0)
    script.join(1)
    trainer = train(script, steps_per_round=2)
    assert [entry.devices for entry in trainer.rounds] == [1, 1]
    ((index, _, reason),) = script.refused
    assert (index, reason) == (1, "a step came after the 2 of a round")
    assert script.causes == ["request"]
    assert sum(e["event"] == "step" and e["device"] == "d1" for e in trainer.told) == 2
    assert not list(tmp_path.glob("kept/*"))


def test_steps_that_are_made_again_do_not_count_against_the_plan(train):
    script = Script()
    script.obey(0, steps=2)
    obedient, heard = script.then[0], []

    def restart_once(header):
        heard.append(header.kind)
        if heard == ["join", "step"]:
            script.events.put(Restarted(0))
            script.sessions[0], script.seqs[0], script.steps[0] = 50, 0, 0
            script.obey(0, steps=2)
            script.ask(0, "resume")
        else:
            obedient(header)

    script.then[0] = restart_once
    script.join(0)
    trainer = train(script, devices=1, steps_per_round=2)
    assert script.refused == []
    assert [entry.devices for entry in trainer.rounds] == [1, 1]


def test_who_comes_and_goes_all_the_time_does_not_fill_the_metrics(train):
    script = Script()
    script.obey(0, steps=2)
    script.obey(1, steps=2)
    obedient = script.then[0]

    def begun(header):
        script.then[0] = obedient
        for number in range(200):
            script.join(1, session=100 + number)
            script.events.put(Lost(1, "gone"))
        script.join(1, session=5)
        obedient(header)

    script.then[0] = begun
    script.join(0)
    trainer = train(script, min_devices=1, join_timeout_s=0.01)
    lines = [e["event"] for e in trainer.told if e.get("device") == "d1" and e["event"] != "step"]
    # It trains all the same, and the next round's lines are written.
    assert lines == ["joined", "left"] * 32 + ["left"]
    assert [entry.devices for entry in trainer.rounds] == [1, 2]


def not_finite(script):
    x = np.full((2, 4, 4, 4), 1e9, np.float32)
    script.ask(1, "step", step_parts(x, np.zeros(2, np.uint8)), samples=2)


def undecodable(script):
    (smashed, target) = step_parts(np.zeros((2, 4, 4, 4), np.float32), np.zeros(2, np.uint8))
    cut = type(smashed)("smashed", "smashed", bytes(smashed.data)[:-5])
    script.ask(1, "step", [cut, target], samples=2)


def shapeless(script):
    x = np.zeros((2, 4, 4, 5), np.float32)
    script.ask(1, "step", step_parts(x, np.zeros(2, np.uint8)), samples=2)


def foreign_front(script):
    script.step(1)
    front = {**kept_bundle().front_state(), "more": np.zeros(3, np.float32)}
    script.then[1] = lambda _: script.ask(1, "front", front_parts(front), samples=2)


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (not_finite, "values"),
        (undecodable, "codec"),
        (shapeless, "codec"),
        (foreign_front, "front"),
        (lambda script: script.ask(1, "join"), "request"),
        (lambda _script: None, "late"),
    ],
)
def test_what_the_trainer_refuses_is_said_with_its_cause(train, fault, cause):
    script = Script()
    script.obey(0, steps=2)
    script.then[1] = lambda _: fault(script)
    script.join(0)
    script.join(1)
    trainer = train(script, step_timeout_s=0.2)
    assert script.causes == [cause]
    assert [entry.devices for entry in trainer.rounds] == [1, 1]


def test_a_disk_that_takes_no_checkpoint_does_not_end_the_run(train, tmp_path, caplog):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    checkpoints, script = tmp_path / "checkpoint", Script()
    seen = []
    script.obey(0, steps=2)
    obedient = script.then[0]

    def fill_and_free(header):
        if header.kind == "front":
            seen.append(newest_checkpoint(tmp_path).path.name)
        if (header.kind, header.round) == ("front", 1):
            # What a full disk does: files stay below a size, whoever writes them.
            largest = max(path.stat().st_size for path in checkpoints.glob("*/*"))
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest - 1, limits[1]))
        elif (header.kind, header.round) == ("front", 3):
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        obedient(header)

    script.then[0] = fill_and_free
    script.join(0)
    try:
        with caplog.at_level(logging.WARNING):
            # Its state is larger than all metrics of the run, which are to be written.
            trainer = train(script, devices=1, rounds=4, optimizer="adam:lr=0.01")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert seen == ["round-000001", "round-000001", "round-000001", "round-000004"]
    failed = [e for e in trainer.told if e["event"] == "checkpoint_failed"]
    assert [e["finished_rounds"] for e in failed] == [2, 3]
    assert all("File too large" in e["reason"] for e in failed)
    assert len([line for line in caplog.messages if "cannot write checkpoint" in line]) == 2
    assert sorted(path.name for path in checkpoints.iterdir()) == ["round-000001", "round-000004"]
    state = json.loads((trainer.checkpoint / "state.json").read_text())
    assert len(state["rounds"]) == 4


def test_who_joins_hears_of_members_that_are_away(train):
    first = Script()
    for index in range(2):
        first.obey(index)
        first.join(index)
    train(first, rounds=1)
    # More rounds are asked for, but the devices had ended with the run: one starts again.
    second = Script()
    second.obey(0)
    second.then[1] = lambda _: second.events.put(Left(1, BYE))
    second.join(0)
    trainer = train(second, rounds=2, resume=True, idle_timeout_s=0.3)
    (joined,) = [e for e in trainer.told if e["event"] == "joined"]
    assert (joined["device"], joined["missing"]) == ("d0", ["d1"])
    assert [entry.devices for entry in trainer.rounds] == [2, 1]

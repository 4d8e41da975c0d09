"""Runs whose heads and labels are the devices'; the I/O thread is a script here."""

import functools
import math

import numpy as np
import pytest
import torch

from harness.offline import kept_bundle, kept_head_bundle
from harness.script import BYE, Script
from harness.u_script import PLAIN, UScript, run_obedient, run_u_script
from slfac.server.back import BackHalf
from slfac.server.events import Left, Lost
from slfac.server.modes.factory import make_mode
from slfac.wire.errors import SettingsError, TrainingError
from slfac.wire.transfer import Part


@pytest.fixture
def train(tmp_path):
    return functools.partial(run_u_script, tmp_path)


def weights(trainer):
    return [tensor.clone() for tensor in trainer.back.module.state_dict().values()]


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


def pair(script, first, steps=1):
    """Two devices, of which the second obeys."""
    script.then[0] = first
    script.obey(1, steps=steps)
    for index in range(2):
        script.join(index)


def test_a_run_trains_in_two_requests_a_step_and_is_scored_by_its_devices(train):
    script = UScript()
    script.samples = {0: 2, 1: 4}
    script.obey(0, steps=2, samples=30, loss=1.0, accuracy=0.5, balanced_accuracy=0.4)
    script.obey(1, steps=2, samples=10, loss=2.0, accuracy=0.9, balanced_accuracy=0.8)
    for index in range(2):
        script.join(index)
    trainer = train(script)
    assert script.refused == []
    kinds = ["step", "head"] * 2 + ["front", "evaluate", "score"]
    assert [kind for kind, _, _ in script.directives(0)] == ["join", *kinds * 2]
    told = [(kind, round_, directive) for kind, round_, directive in script.directives(1)]
    assert ("front", 0, "evaluate") in told
    assert told[-1] == ("score", 2, "stop")
    assert [entry.devices for entry in trainer.rounds] == [2, 2]
    for entry in trainer.rounds:
        assert entry.train_loss == pytest.approx((0.5 * 2 + 1.5 * 4) / 6)
        assert entry.score.samples == 40
        assert entry.score.loss == pytest.approx(1.25)
        assert entry.score.accuracy == pytest.approx(0.6)
        assert entry.score.balanced_accuracy == pytest.approx(0.5)
    steps = [event for event in trainer.told if event["event"] == "step"]
    assert [event["samples"] for event in steps] == [2, 4] * 4
    # Both requests, and both replies: each 2 x 64 and 2 x 8 values, with a head of 9 bytes.
    assert steps[0]["bytes_up"] == 20
    assert steps[0]["float32_smashed_bytes"] == steps[0]["float32_gradient_bytes"] == 4 * 2 * 72
    assert trainer.ledger.totals["d0"].target_bytes == 0
    assert trainer.rounds[0].participation == 1.0


def test_without_evaluation_a_round_ends_with_its_fronts(train):
    script = UScript()
    script.obey(0)
    script.join(0)
    trainer = train(script, devices=1, evaluate=False)
    assert [told for _, _, told in script.directives(0)].count("evaluate") == 0
    assert [entry.score for entry in trainer.rounds] == [None, None]


def test_devices_without_test_samples_give_no_score(train):
    script = UScript()
    nan = math.nan
    script.obey(0, samples=0, loss=nan, accuracy=nan, balanced_accuracy=nan)
    script.join(0)
    trainer = train(script, devices=1)
    assert [entry.score for entry in trainer.rounds] == [None, None]


def test_early_stop_goes_by_what_devices_say(train):
    script = UScript()
    script.obey(0)
    script.join(0)
    trainer = train(script, devices=1, rounds=9, mode="u-shaped", early_stop="patience=2")
    assert len(trainer.rounds) == 3
    assert script.directives(0)[-1] == ("score", 3, "stop")


# The answers of a device with two steps a round: to joining, two to each step, to its front, to
# its samples, and to its score.
@pytest.mark.parametrize("at", range(1, 15))
def test_a_device_killed_at_any_answer_leaves_no_trace(tmp_path, train, at):
    expected = run_obedient(tmp_path / "undisturbed")
    script = UScript()
    script.obey(0, steps=2)
    script.kill(1, at, steps=2)
    for index in range(2):
        script.join(index)
    trainer = train(script)
    assert script.refused == []
    assert same(trainer, expected)
    assert [r.train_loss for r in trainer.rounds] == [r.train_loss for r in expected.rounds]
    assert [r.score for r in trainer.rounds] == [r.score for r in expected.rounds]
    made = [(e["device"], e["step"]) for e in trainer.told if e["event"] == "step"]
    assert len(made) == len(set(made)) == 8
    assert all(np.array_equal(trainer.front[n], a) for n, a in expected.front.items())


def test_a_device_that_is_lost_amid_a_step_gives_no_gradient(train):
    script = UScript()
    pair(script, lambda header: (script.smash if header.kind == "join" else lose)(0))

    def lose(index):
        script.events.put(Lost(index, "its connection is gone"))

    trainer = train(script, rounds=1)
    assert script.refused == []
    assert [entry.devices for entry in trainer.rounds] == [1]
    assert [event["device"] for event in trainer.told if event["event"] == "step"] == ["d1"]


def test_a_step_that_all_devices_left_is_as_if_it_had_not_been(train):
    script = UScript()

    def leave(header):
        if header.kind == "join":
            script.smash(0)
        else:
            script.events.put(Lost(0, "gone"))
            script.obey(0)
            script.join(0, session=9)

    script.then[0] = leave
    script.join(0)
    trainer = train(script, devices=1, rounds=1)
    assert [entry.devices for entry in trainer.rounds] == [1]
    assert len([event for event in trainer.told if event["event"] == "step"]) == 1


@pytest.mark.parametrize(
    ("scale", "loss", "reason"),
    [
        (1e12, 0.5, "its loss is not finite, or its data exceeds 1e+06"),
        (1.0, math.nan, "its loss is nan"),
        (1.0, math.inf, "its loss is inf"),
    ],
)
def test_who_diverges_alone_is_let_go(train, scale, loss, reason):
    script = UScript()
    pair(
        script,
        lambda header: (
            script.smash(0) if header.kind == "join" else script.head(0, scale=scale, loss=loss)
        ),
    )
    trainer = train(script, rounds=1)
    assert [(index, what) for index, _, what in script.refused] == [(0, reason)]
    assert [entry.devices for entry in trainer.rounds] == [1]


def test_where_all_diverge_the_run_ends(train):
    script = UScript()
    script.then[0] = lambda _: script.smash(0, scale=1e9)
    script.join(0)
    with pytest.raises(TrainingError, match="diverged; lower the learning rate"):
        train(script, devices=1)


def wrong_requests():
    target = Part("target", "target", PLAIN.encode(np.zeros(2, np.uint8)))
    return {
        "labels": (lambda s: s.smash(0, extra=(target,)), "targets, and in mode u-shaped"),
        "parts": (lambda s: s.smash(0, part=0, parts=2, step_samples=4), "steps come whole"),
        "gradients first": (
            lambda s: (s.given.update({0: np.zeros((2, 8), np.float32)}), s.head(0)),
            "gradients of step 0 came that nobody waits for",
        ),
        "score": (lambda s: s.score(0), "a score came that nobody asked for"),
        "samples": (lambda s: s.smash(0, "evaluate"), "an evaluation came that nobody asked for"),
        "smashed data as gradient": (lambda s: s.smash(0, "head"), "came that nobody waits for"),
    }


@pytest.mark.parametrize("name", wrong_requests())
def test_a_request_out_of_place_is_refused_and_costs_the_others_nothing(train, name):
    script = UScript()
    ask, text = wrong_requests()[name]
    pair(script, lambda _: ask(script))
    trainer = train(script, rounds=1)
    ((index, _, reason),) = script.refused
    assert index == 0
    assert text in reason
    assert [entry.devices for entry in trainer.rounds] == [1]


@pytest.mark.parametrize(
    "changes",
    [
        {"step": 7},
        {"samples": 1},
    ],
)
def test_gradients_of_another_step_are_refused(train, changes):
    script = UScript()
    pair(
        script,
        lambda header: script.smash(0) if header.kind == "join" else script.head(0, **changes),
    )
    trainer = train(script, rounds=1)
    assert "that nobody waits for" in script.refused[0][2]
    assert [entry.devices for entry in trainer.rounds] == [1]


@pytest.mark.parametrize(
    "score",
    [
        {"loss": math.nan},
        {"accuracy": 1.5},
        {"balanced_accuracy": -0.1},
        {"accuracy": math.nan},
    ],
)
def test_a_score_that_is_none_is_refused(train, score):
    script = UScript()
    script.obey(0, **score)
    script.obey(1, accuracy=0.75)
    for index in range(2):
        script.join(index)
    trainer = train(script, rounds=1)
    assert "a score came of loss" in script.refused[0][2]
    assert trainer.rounds[0].score.accuracy == 0.75


def test_who_leaves_amid_the_evaluation_does_not_hold_up_the_others(train):
    script = UScript()

    def then(header):
        if header.directive == "evaluate":
            script.events.put(Left(0, BYE))
        else:
            obedient(header)

    script.obey(0)
    obedient = script.then[0]
    pair(script, then)
    trainer = train(script, rounds=1)
    assert trainer.rounds[0].devices == 2
    assert trainer.rounds[0].score.samples == 10


def test_a_bundle_and_a_mode_must_fit(train):
    backs = [
        BackHalf(bundle, "sgd:lr=0.1", ("slfac.export.models",))
        for bundle in (kept_bundle(), kept_head_bundle())
    ]
    assert [make_mode("auto", back, 0).kind.name for back in backs] == ["parallel", "u-shaped"]
    with pytest.raises(SettingsError, match="the bundle has no head; use another mode, or export"):
        make_mode("u-shaped", backs[0], 0)
    with pytest.raises(SettingsError, match="mode is 'relay', and the bundle has a head; use mode"):
        make_mode("relay", backs[1], 0)
    with pytest.raises(SettingsError, match="has a head"):
        train(Script(), mode="parallel")

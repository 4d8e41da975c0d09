"""The best round is kept, and a run that gains no more ends as if its rounds were over."""

import json

import pytest

from harness.site import run_site
from slfac.server.evaluate import Evaluator, Score


@pytest.fixture
def scored(site, monkeypatch):
    """A run whose rounds score losses that were written down before."""

    def run(*losses, **settings):
        left = list(losses)

        def score(*_):
            return Score(loss=left.pop(0), accuracy=None, samples=1, classes=None)

        monkeypatch.setattr(Evaluator, "score", score)
        few = {"steps_per_round": 1, "best_by": "loss", "rounds": len(losses)}
        server, devices = run_site(site, **{**few, **settings})
        return server, devices, site.root / "out" / "checkpoint"

    return run


def test_an_early_stop_lets_the_devices_leave_in_peace(site):
    settings = {"optimizer": "sgd:lr=0", "early_stop": "patience=2"}
    server, devices = run_site(site, rounds=40, **settings)
    result = server.finished()
    assert result.stopped_early
    assert [device.rounds for device in devices] == [len(result.rounds)] * 2 == [3, 3]
    assert {event["reason"] for event in server.of_kind("left")} == {"finished"}
    assert server.of_kind("end")[0]["stopped_early"] is True
    (event,) = server.of_kind("early_stop")
    assert (event["round"], event["best_round"], event["measure"]) == (2, 0, "balanced_accuracy")
    assert result.best.value == result.rounds[0].score.balanced_accuracy


def test_it_is_said_why_a_run_ended_and_kept_what_it_has_seen(scored):
    spec = "patience=2,min_delta=0.01"
    server, devices, folder = scored(3.0, 2.0, 1.995, 2.5, rounds=50, early_stop=spec)
    assert [device.rounds for device in devices] == [4, 4]
    (event,) = server.of_kind("early_stop")
    del event["time"]
    assert event == {
        "event": "early_stop",
        "round": 3,
        "best_round": 2,
        "measure": "loss",
        "value": 1.995,
        "gain_from": 2.0,
        "rounds_without_gain": 2,
    }
    best = json.loads((folder / "best" / "state.json").read_text())
    assert best["finished_rounds"] == 3
    last = json.loads((server.finished().checkpoint / "state.json").read_text())
    assert last["finished_rounds"] == 4
    assert last["best"]["rounds_without_gain"] == 2


def test_the_best_round_is_kept_though_it_is_old(scored):
    server, _, folder = scored(3.0, 1.0, 2.0, 2.0, 1.0)
    kept = sorted(path.name for path in folder.iterdir())
    assert kept == ["best", "round-000002", "round-000004", "round-000005"]
    assert (folder / "best").readlink().name == "round-000002"
    assert [event["best_round"] for event in server.of_kind("round")] == [0, 1, 1, 1, 1]
    assert not server.of_kind("early_stop")
    assert not server.finished().stopped_early


def test_patience_that_ends_with_the_last_round_is_no_early_stop(scored):
    server, _, _ = scored(1.0, 2.0, early_stop="patience=1")
    assert not server.of_kind("early_stop")
    assert server.of_kind("end")[0]["stopped_early"] is False


def test_a_link_that_cannot_be_made_is_said_and_does_not_end_the_run(scored, site):
    (site.root / "out" / "checkpoint" / "best" / "a folder of somebody's").mkdir(parents=True)
    server, _, _ = scored(3.0, 4.0)
    (event,) = server.of_kind("checkpoint_failed")
    assert event["finished_rounds"] == 1
    assert "cannot link" in event["reason"]
    assert event["best_missed"]
    assert len(server.finished().rounds) == 2

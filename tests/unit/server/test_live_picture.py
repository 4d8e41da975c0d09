import json
import math
import tracemalloc

import pytest

from harness.live import TIME, energy_event, event, round_event, run_event, step_event
from slfac.server.energy import Spent
from slfac.server.ledger import PHASES, DeviceTotals
from slfac.server.live.document import MOST_DEVICES, document
from slfac.server.live.links import Links
from slfac.server.live.picture import Picture
from slfac.server.result import RoundResult
from slfac.server.resume import Standing

QUARTER_S = 0.25


def drawn(events, links=None, now_s=None):
    picture = Picture()
    for number, one in enumerate(events):
        picture.take(one, QUARTER_S * number)
    return document(picture, links, QUARTER_S * len(events) if now_s is None else now_s)


def steps(count, devices=("a", "b"), **changes):
    return [step_event(name, step=n, **changes) for n in range(count) for name in devices]


def device(state, name):
    return next(one for one in state["devices"] if one["name"] == name)


def test_a_device_goes_through_its_states():
    events = [run_event("a", "b")]
    assert device(drawn(events), "a")["state"] == "expected"
    assert drawn(events)["state"] == "waiting"
    events += [event("joined", device="a", round=0, missing=["b"])]
    assert device(drawn(events), "a")["state"] == "waiting"
    events += steps(1, devices=("a",))
    assert device(drawn(events), "a")["state"] == "training"
    assert drawn(events)["state"] == "training"
    events += [event("left", device="a", reason="its connection is gone")]
    assert device(drawn(events), "a")["state"] == "left"
    assert device(drawn(events), "a")["note"] == "its connection is gone"
    events += [event("resumed", device="a", round=0)]
    assert (device(drawn(events), "a")["state"], device(drawn(events), "a")["note"]) == (
        "waiting",
        "",
    )
    events += [event("left", device="a", reason="finished")]
    assert device(drawn(events), "a")["state"] == "finished"


def test_sums_of_steps():
    state = drawn([run_event("a", "b"), *steps(8), round_event(0)])
    one = device(state, "b")
    assert (one["steps"], one["samples"], one["round"], one["step"]) == (8, 128, 0, 7)
    assert (one["bytes_up"], one["bytes_down"]) == (8800, 4800)
    assert (one["float32_bytes_up"], one["float32_bytes_down"]) == (8 * 9100, 8 * 9100)
    assert one["phase_ms"] == dict.fromkeys(PHASES, 3.0)
    assert one["step_ms"] == 25.0
    assert one["server_ms"] == {"decode": 2.0, "train": 2.0, "encode": 2.0}
    # A step of each every half second.
    assert one["samples_per_s"] == pytest.approx(32)
    assert state["samples_per_s"] == pytest.approx(64)
    assert state["steps"] == 16
    assert state["by_step"] == {"step": [*range(1, 17)], "loss": [2.0] * 16}
    assert state["by_round"]["round"] == [1]
    assert state["by_round"]["step"] == [16]
    assert state["by_round"]["accuracy"] == [0.5]
    assert (state["rounds"], state["best_round"]) == (1, 0)


def test_phases_are_those_of_the_last_steps():
    slow = dict.fromkeys(PHASES, 100.0)
    state = drawn([run_event("a"), *steps(200, ("a",)), *steps(100, ("a",), phase_ms=slow)])
    assert 90 < device(state, "a")["phase_ms"]["encode"] < 100
    state = drawn([run_event("a"), *steps(1, ("a",), phase_ms=None, server_ms=None)])
    assert (device(state, "a")["phase_ms"], device(state, "a")["server_ms"]) == (None, None)


def test_a_device_that_stopped_has_no_throughput():
    events = [run_event("a"), *steps(20, ("a",))]
    assert device(drawn(events), "a")["samples_per_s"] == pytest.approx(64)
    assert device(drawn(events, now_s=20 * QUARTER_S + 1), "a")["samples_per_s"] > 0
    assert device(drawn(events, now_s=60), "a")["samples_per_s"] == 0


def test_throughput_over_time_begins_with_the_second_step():
    state = drawn([run_event("a"), *steps(17, ("a",))])
    assert state["by_time"]["second"] == [1.0, 2.0, 3.0, 4.0]
    assert state["by_time"]["samples_per_s"] == pytest.approx([64.0] * 4)
    picture = Picture()
    picture.take(run_event("a"), 0.0)
    for at_s in (5.0, 7.0):
        picture.take(step_event("a"), at_s)
    state = document(picture, None, 8.0)
    assert state["by_time"] == {"second": [7.0], "samples_per_s": [8.0]}


def test_bytes_are_the_sockets_where_they_are_known():
    links = Links(
        bytes_up={"a": 5000, "b": 6000},
        bytes_down={"a": 100, "b": 200},
        connected=frozenset({"a"}),
        refused_keys=3,
        refused={"header": 2},
    )
    state = drawn([run_event("a", "b"), *steps(1)], links)
    assert (state["bytes_up"], state["float32_bytes_up"]) == (11_000, 11_000 + 2 * 8000)
    assert (state["bytes_down"], state["float32_bytes_down"]) == (300, 300 + 2 * 8500)
    assert [one["connected"] for one in state["devices"]] == [True, False]
    assert device(state, "a")["bytes_up"] == 5000
    assert (state["refused_keys"], state["refused"]) == (3, {"header": 2})
    alone = drawn([run_event("a", "b"), *steps(1), round_event(0)])
    assert (alone["bytes_up"], device(alone, "a")["connected"]) == (10_000, None)


def test_the_end_of_a_run():
    events = [run_event("a"), *steps(4, ("a",)), round_event(2)]
    state = drawn([*events, event("end", run="r1", seconds=8.0, stopped_early=False)], now_s=99)
    assert (state["state"], state["ended"], state["seconds"]) == ("ended", "finished", 8.0)
    assert (state["left_s"], state["samples_per_s"]) == (None, 8.0)
    state = drawn([*events, event("end", run="r1", seconds=8.0, stopped_early=True)])
    assert state["ended"] == "stopped early, for want of gain"
    # Another run begins in the same place.
    state = drawn(
        [*events, event("end", run="r1", seconds=8.0, stopped_early=True), run_event("x")]
    )
    assert (state["state"], state["rounds"], state["steps"], state["ended"]) == (
        "waiting",
        0,
        0,
        "",
    )
    assert [one["name"] for one in state["devices"]] == ["x"]


def test_a_run_that_failed_says_why():
    picture = Picture()
    picture.take(run_event("a"), 0.0)
    picture.fail("training diverged; " + 1000 * "x", 7.0)
    state = document(picture, None, 100.0)
    assert (state["state"], state["seconds"]) == ("failed", 7.0)
    assert state["ended"].startswith("training diverged")
    assert len(state["ended"]) == 300
    picture = Picture()
    picture.take(event("end", seconds=1.0), 0.0)
    picture.fail("the goodbye failed", 1.0)
    assert document(picture, None, 2.0)["state"] == "ended"


def test_what_is_left_follows_from_the_rounds_so_far():
    events = [run_event("a", rounds=10), *steps(1, ("a",)), round_event(0), round_event(1)]
    state = drawn(events, now_s=3 * QUARTER_S + 1.5)
    assert state["left_s"] == pytest.approx(8 * 2.0 - 1.5)
    assert drawn(events, now_s=500)["left_s"] == 0


def test_an_unknown_event_changes_nothing():
    events = [run_event("a"), *steps(1, ("a",))]
    known = drawn(events, now_s=9.0)
    assert drawn([*events, event("weather", rain=[1, 2])], now_s=9.0) == known
    assert drawn([*events, step_event("stranger")], now_s=9.0) == known
    more = step_event("a", novelty={"x": 1}, phase_ms={"load": 3.0, "dreaming": 4.0, "wait": None})
    assert device(drawn([*events, more]), "a")["steps"] == 2
    needed = {
        "event",
        "time",
        "round",
        "step",
        "device",
        "samples",
        "loss",
        "bytes_up",
        "bytes_down",
    }
    less = {name: value for name, value in step_event("a").items() if name in needed}
    assert device(drawn([*events, less]), "a")["steps"] == 2


def test_a_loss_that_is_not_finite_is_no_number():
    state = drawn([run_event("a"), *steps(2, ("a",), loss=None), round_event(0, loss=math.nan)])
    assert device(state, "a")["loss"] is None
    assert (state["by_step"]["loss"], state["by_round"]["loss"]) == ([None, None], [None])
    json.dumps(state, allow_nan=False)


def test_what_happened_is_listed_newest_first_and_not_for_ever():
    events = [run_event("a")]
    events += [event("left", device="a", reason=f"reason {n} {'y' * 1000}") for n in range(100)]
    events += [event("checkpoint_failed", finished_rounds=1, reason="no space")]
    notices = drawn(events)["notices"]
    assert notices[0] == [TIME, "checkpoint failed: no space"]
    assert notices[1][1].startswith("a left: reason 99 yyy")
    assert len(notices) == 40
    assert max(len(text) for _, text in notices) == 300


def test_nothing_of_the_machine_is_told():
    text = json.dumps(drawn([run_event("a"), *steps(1, ("a",))]))
    assert "/secret/place" not in text
    assert "tcp://" not in text


def test_more_devices_than_anyone_reads_are_counted():
    names = [f"d{n}" for n in range(MOST_DEVICES + 7)]
    state = drawn([run_event(*names)])
    assert (len(state["devices"]), state["more_devices"]) == (MOST_DEVICES, 7)


def test_a_long_run_takes_no_more_memory_than_a_short_one():
    picture = Picture()
    picture.take(run_event("a", rounds=10**6), 0.0)

    def train(count):
        for n in range(count):
            picture.take(step_event("a", step=n), 1.1 * n)
            picture.take(round_event(n), 1.1 * n)
            picture.take(event("left", device="a", reason="z"), 1.1 * n)

    train(1000)
    tracemalloc.start()
    try:
        train(1000)
        before, _ = tracemalloc.get_traced_memory()
        train(4000)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Four thousand rounds and steps that were all kept would take three megabytes.
    assert after - before < 400_000
    assert len(json.dumps(document(picture, None, 1.0))) < 60_000


def test_joules_are_those_that_are_known_and_scopes_stay_apart():
    picture = Picture()
    picture.begin(run_event("a", "b", "c", "d"), 0.0)
    assert document(picture, None, 0.0)["joules"] == []
    partial = {"joules": 50.0, "covered_s": 9.0, "missing_s": 1.0}
    unseen = {"joules": 0.0, "covered_s": 0.0, "missing_s": 9.0}
    for one in (
        energy_event("a"),
        energy_event("b", total={"wall": partial}),
        energy_event("c", total={"module": unseen}),
        energy_event("a"),
        energy_event("stranger"),
    ):
        picture.take(one, 1.0)
    state = document(picture, None, 2.0)
    assert state["joules"] == [
        {"scope": "module", "joules": 812.5, "at_least": False},
        {"scope": "wall", "joules": 50.0, "at_least": True},
    ]
    assert state["joules_unknown"] == 2
    assert [len(device(state, name)["joules"]) for name in "abcd"] == [1, 1, 0, 0]


@pytest.mark.parametrize("last", [0, None], ids=["without-goodbye", "with-goodbye"])
def test_joules_of_a_device_that_never_said_goodbye_are_a_lower_bound_in_the_end(last):
    picture = Picture()
    picture.begin(run_event("a"), 0.0)
    picture.take(energy_event("a", round_=last), 1.0)
    assert document(picture, None, 2.0)["joules"][0]["at_least"] is False
    picture.fail("the machine is on fire", 1.5)
    state = document(picture, None, 2.0)
    assert state["joules"][0]["at_least"] is (last is not None)
    assert device(state, "a")["joules"] == state["joules"]


def test_a_run_that_goes_on_shows_its_rounds_from_before():
    rounds = tuple(
        RoundResult(
            round=n,
            train_loss=2.0 - n / 2,
            score=None,
            seconds=3.0,
            bytes_up=1000 * n,
            bytes_down=900 * n,
            float32_bytes_up=5000 * n,
            float32_bytes_down=5000 * n,
            devices=1,
        )
        for n in range(2)
    )
    totals = DeviceTotals(steps=10, samples=160, smashed_bytes=500, smashed_values=1000)
    totals.phase_ms["encode"] = 50.0
    totals.energy.spent["module"] = Spent(12.5, 3.0, 0.0)
    standing = Standing(
        run="r1",
        bundle="b",
        settings={},
        names=("a", "b"),
        members=(0,),
        rounds=rounds,
        totals={"a": totals, "b": DeviceTotals(), "gone": totals},
        traffic={},
        codecs={},
        best={"best_round": 1},
        metrics_bytes=0,
    )
    picture = Picture()
    picture.begin(run_event("a", "b"), 0.0)
    picture.take_up(standing)
    picture.take(event("restarted", run="r1", round=2, rounds=3, missing=["a"]), 1.0)
    picture.take(step_event("a", round_=2), 2.0)
    state = document(picture, None, 3.0)
    assert state["by_round"]["round"] == [1, 2]
    assert state["by_round"]["train_loss"] == [2.0, 1.5]
    assert state["by_round"]["step"] == [5, 10]
    assert (state["rounds"], state["best_round"], state["steps"]) == (2, 1, 11)
    assert state["seconds"] == 2 * 3.0 + 2.0
    one = device(state, "a")
    assert (one["steps"], one["samples"]) == (11, 176)
    assert one["float32_bytes_up"] - one["bytes_up"] == 3500 + 8000
    assert one["phase_ms"]["encode"] == pytest.approx(5 - 2 / 11, abs=1e-3)
    assert device(state, "b")["phase_ms"] is None
    totals.energy.spent["module"].joules = 99.0
    assert one["joules"] == [{"scope": "module", "joules": 12.5, "at_least": False}]
    assert document(picture, None, 3.0)["joules"] == one["joules"], "a copy of its own"

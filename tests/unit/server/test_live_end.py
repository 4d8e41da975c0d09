"""How what is shown ends."""

import time

from harness.live import ask, run_event, state_of
from harness.viewer import Viewer
from slfac.server.live.live import Live, Shown


def test_a_failure_is_shown_though_events_still_wait(monkeypatch):
    monkeypatch.setattr("slfac.server.live.feed._EVERY_S", 60.0)
    monkeypatch.setattr("slfac.server.live.page._POLL_MS", 100)
    monkeypatch.setattr("slfac.server.live.page._EVERY_S", 0.0)
    live = Live(Shown(page="0"))
    live.start()
    live.listen(run_event("a"))
    seen = state_of(live.places["page"])
    assert (seen["state"], seen["devices"]) == ("waiting", [])
    viewer = Viewer(live.places)
    live.close("the disk is full")
    last = viewer.finish()
    assert (last["state"], last["ended"]) == ("failed", "the disk is full")
    assert [device["name"] for device in last["devices"]] == ["a"]


def test_a_page_that_nobody_watches_costs_no_time_at_the_end():
    live = Live(Shown(page="0", prometheus="0"))
    live.start()
    assert ask(live.places["prometheus"])[0] == 200
    start_s = time.monotonic()
    live.close()
    assert time.monotonic() - start_s < 1.0


def test_nothing_is_started_where_nothing_is_to_be_shown():
    live = Live(Shown())
    live.start()
    live.listen(run_event("a"))
    assert live.places == {}
    live.close("failed")

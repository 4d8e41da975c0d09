"""The page of energy attribution holds its result file, and what is claimed of it."""

import json

from harness.attribution import RESULTS, conditions, page
from harness.powertrace import PHASES

RESULT = json.loads(RESULTS.read_text())


def test_the_page_holds_the_results():
    assert RESULTS.with_suffix(".md").read_text() == page(RESULT)
    assert [(row["sensor"], row["scene"]) for row in RESULT["rows"]] == [
        (sensor, scene) for sensor, scene, _ in conditions()
    ]


def test_nine_of_ten_intervals_hold_the_truth_in_every_condition():
    for row in RESULT["rows"]:
        assert row["repetitions"] >= 40
        assert row["coverage"] >= 0.9, row


def test_long_phases_are_resolved_better_than_by_windows():
    for row in RESULT["rows"]:
        if row["sensor"] == "1 Hz, 1 s":
            continue
        for name in ("forward", "send", "backward"):
            own = row["phases"][name]
            assert own["resolved"] == 1
            assert own["error"] < 0.02
            assert own["error"] < own["windows"]
        assert set(row["phases"]) == {*PHASES, "step"}


def test_seconds_of_averaging_resolve_no_short_phase():
    (row,) = (row for row in RESULT["rows"] if row["sensor"] == "1 Hz, 1 s")
    assert row["phases"]["decode"]["resolved"] == row["phases"]["encode"]["resolved"] == 0

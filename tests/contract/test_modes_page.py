"""The page of modes holds its result file, and what is claimed of them."""

import json

from harness.modes import COMPARED_STEPS, RESULTS, page
from slfac.server.modes.kinds import mode_names


def test_the_page_holds_the_results():
    result = json.loads(RESULTS.read_text())
    assert RESULTS.with_suffix(".md").read_text() == page(result)
    assert [row["mode"] for row in result["summary"]] == list(mode_names())


def test_every_mode_is_as_its_twin():
    result = json.loads(RESULTS.read_text())
    assert COMPARED_STEPS == 50
    for row in result["summary"]:
        assert row["seeds"] == 5
        assert row["loss_gap"] < 1e-3
        assert abs(row["difference_points"]) < 1
        assert row["largest_difference_points"] >= abs(row["difference_points"])

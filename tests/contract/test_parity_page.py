"""The page of parity with torch holds its result file, and every family."""

import json

from harness.trained import FAMILIES, RESULTS, page


def test_the_page_holds_the_results():
    result = json.loads(RESULTS.read_text())
    assert RESULTS.with_suffix(".md").read_text() == page(result)
    assert [row["family"] for row in result["rows"]] == FAMILIES


def test_every_family_is_as_exact_as_torch():
    for row in json.loads(RESULTS.read_text())["rows"]:
        assert row["smashed"] < 1e-5
        assert row["gradients"] <= max(1e-5, 2 * row["gradients_torch"])
        assert row["statistics"] is None or row["statistics"] < 1e-5
        for optimizer in ("sgd", "adam"):
            assert row[optimizer] <= max(1e-3, 4 * row[f"{optimizer}_torch"])

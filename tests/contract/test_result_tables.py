"""Pages of docs/ quote result files."""

import json

import pytest

from harness.result_tables import RESULTS, paper_table, simulate_table, time_table

DOCS = RESULTS.parent
PAGE = (DOCS / "experiments.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("table", "page"),
    [
        (paper_table, "experiments"),
        (time_table, "experiments"),
        (simulate_table, "simulate"),
    ],
)
def test_tables_are_those_of_the_result_files(table, page):
    assert f"\n\n{table()}\n\n" in (DOCS / f"{page}.md").read_text("utf-8")


def test_the_reduced_experiment_is_called_reduced_and_stands_beside_the_papers_figures():
    result = json.loads((RESULTS / "paper-reduced.json").read_text("utf-8"))
    assert result["note"].startswith("REDUCED: ")
    assert {run["seed"] for run in result["runs"]} == {0, 1, 2}
    told = {one["accuracy"] for one in result["published"]}
    assert {98.39, 97.65} < told
    assert all(f"{accuracy:g}" in PAGE for accuracy in (98.39, 97.65))
    drawn = (RESULTS / "paper-reduced.svg").read_text("utf-8")
    assert drawn.count("SL-FAC in the paper") == 2
    tables = (RESULTS / "paper-reduced.md").read_text("utf-8")
    assert all(f"| {accuracy:g} % |" in tables for accuracy in told)


def test_every_link_has_all_codecs_with_the_seeds_that_were_promised():
    runs = json.loads((RESULTS / "time.json").read_text("utf-8"))["runs"]
    found = {(run["codec"], run["settings"]["link"][0]): set() for run in runs}
    for run in runs:
        found[run["codec"], run["settings"]["link"][0]].add(run["seed"])
    assert len(found) == 7 * 4
    alone = {pair for pair, seeds in found.items() if seeds == {0}}
    lossy = "20Mbit/20ms/1%"
    assert alone == {("none", "5Mbit/20ms"), ("none", lossy), ("fp16", lossy)}
    assert all(seeds == {0, 1} for pair, seeds in found.items() if pair not in alone)

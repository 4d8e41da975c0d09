"""docs/experiments.md quotes the result files of experiments."""

import json

from harness.experiment_tables import RESULTS, time_table

PAGE = (RESULTS.parent / "experiments.md").read_text("utf-8")


def test_the_table_of_times_is_that_of_the_result_file():
    assert f"\n\n{time_table()}\n\n" in PAGE


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

"""The page on testbeds: its figures are those of the result file, its inventory is a valid one."""

import json
import re
from pathlib import Path

from slfac.testbed.hosts.lab import real_lab
from slfac.testbed.inventory import load_inventory

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "testbed.md").read_text("utf-8")


def test_its_figures_are_those_of_the_result():
    result = json.loads((ROOT / "docs" / "results" / "testbed.json").read_text())
    rounds = [f"{seconds:.1f}" for seconds in result["round_s"]]
    figures = [
        link[way]["value"]
        for when in result["baseline"].values()
        for link in when.values()
        for way in ("up_mbits", "down_mbits")
    ]
    words = " ".join(PAGE.split())
    for claim in (
        f"took {result['minutes_in_all']:.1f} minutes",
        f"rounds of {', '.join(rounds[:-1])} and {rounds[-1]} s",
        f"{min(figures):.1f} to {max(figures):.1f} Mbit/s",
        f"{100 * result['accuracy']:.1f} %",
    ):
        assert claim in words, claim


def test_its_inventory_is_a_valid_one(tmp_path):
    text = re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[1]
    (tmp_path / "testbed.yaml").write_text(text, "utf-8")
    lab = real_lab(load_inventory(tmp_path / "testbed.yaml"))
    assert lab.names == ["server", "pi-1", "pi-2", "pi-3"]
    assert lab.targets[0].host is None
    assert set(lab.endpoints.values()) == {"tcp://10.0.0.5:5555"}

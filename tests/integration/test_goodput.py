"""``slfac testbed goodput``: both kinds of traffic cross a real shaped link, and are counted."""

import json
import os
import shutil
import sys

import pytest

from harness.lan import plan, raised
from slfac.cli import main
from slfac.testbed.emulate.places import lans
from slfac.testbed.goodput.measure import GoodputSettings, measure_goodput
from slfac.wire.errors import SettingsError


@pytest.mark.parametrize("tool", ["iperf3", "two TCP sockets"])
def test_goodput_is_measured_both_ways_and_never_beyond_the_link(
    tool, tmp_path, monkeypatch, capsys
):
    with raised(plan()):
        pass  # is skipped where there can be none
    if tool == "iperf3":
        if shutil.which("iperf3") is None:
            pytest.skip("iperf3 is not installed")
    else:
        monkeypatch.setenv("PATH", str(tmp_path))
    file = tmp_path / "links.json"
    asked = ["--mbits", "8", "--delay-ms", "5", "--repeat", "1", "--seconds", "1"]
    asked += ["--warm-up-s", "1", "--json", str(file)]
    monkeypatch.setattr(sys, "argv", ["slfac", "testbed", "goodput", *asked])
    assert main(["testbed", "goodput", *asked]) == 0
    shown = capsys.readouterr()
    assert "3 of 4" in shown.err
    assert "8 Mbit/s  down" in shown.out
    result = json.loads(file.read_text("utf-8"))
    assert result["baseline"] == tool
    assert result["command"].startswith("slfac testbed goodput --mbits 8")
    assert [row["direction"] for row in result["rows"]] == ["up", "down"]
    for row in result["rows"]:
        # What waited in a queue of 100 ms may come on top within the second.
        assert 0.5 < row["slfac_mbits"] < 8 * 1.12
        assert 0.5 < row["plain_mbits"] < 8 * 1.12
        assert row["share"] == pytest.approx(row["slfac_mbits"] / row["plain_mbits"], rel=1e-3)
    # It crossed the shaped link, and all of it.
    counted = result["counters"]["link-1"]
    least_bytes = sum(row["slfac_mbits"] + row["plain_mbits"] for row in result["rows"]) / 8e-6 / 2
    assert counted["up"]["sent_bytes"] + counted["down"]["sent_bytes"] > least_bytes


class SeenError(Exception):
    """What the test came for is seen."""


def test_its_hosts_are_nobody_elses():
    with raised(plan()):
        pass
    up = {}

    def look(*_):
        up.update(lans())
        raise SeenError

    with pytest.raises(SeenError):
        measure_goodput(GoodputSettings(mbits=(8.0,)), look)
    assert up[f"goodput-{os.getpid()}"] == "slfac testbed goodput"


@pytest.mark.parametrize(
    "values",
    [
        {"repeat": 0},
        {"seconds": float("nan")},
        {"mbits": (0.0,)},
        {"loss": 1.0},
        {"delay_ms": -1},
        {"shaper": "relay"},
    ],
)
def test_settings_out_of_range_are_named(values):
    with pytest.raises(SettingsError, match=f"setting {next(iter(values))} is"):
        measure_goodput(GoodputSettings(**values), lambda *_: None)

"""``slfac bench front`` from an export to a table and a JSON file."""

import json

import pytest

from slfac.cli import main


def run(*arguments):
    return main(["bench", "front", *map(str, arguments)])


def test_measures_every_way_of_a_front(tmp_path, capsys):
    path = tmp_path / "new" / "fronts.json"
    assert run("--front", "cnn-pool1", "--batch-size", 4, "--repeat", 1, "--json", path) == 0
    said = capsys.readouterr().out
    written = json.loads(path.read_text())
    ways = {m["way"]: m for m in written["measurements"]}
    assert list(ways) == ["torch", "slfac", "recompute", "low memory"]
    assert all(way in said for way in ways)
    assert (written["batch_size"], written["repeat"], written["threads"]) == (4, 1, 1)
    assert ways["torch"]["ratio"] == 1
    for m in ways.values():
        assert m["step_ms"] > 0
        assert m["ratio"] == pytest.approx(m["step_ms"] / ways["torch"]["step_ms"], rel=0.01)
    # One image of 28 x 28 float32 a sample, and what ReLU and pooling gave.
    assert ways["recompute"]["held_bytes"] == 4 * 28 * 28 * 4
    assert ways["slfac"]["held_bytes"] > 4 * 16 * 28 * 28 * 4
    device, theirs = ways["slfac"]["peak_rss_bytes"], ways["torch"]["peak_rss_bytes"]
    assert 20e6 < device < theirs / 2  # no torch in the process


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--front", "lenet", "'lenet'"),
        ("--batch-size", 0, "batch_size is 0"),
        ("--repeat", 0, "repeat is 0"),
    ],
)
def test_a_wrong_setting_is_named(option, value, message, capsys):
    assert run(option, value) == 2
    assert message in capsys.readouterr().err

"""What a run of an experiment was told, beside what was asked of it."""

from __future__ import annotations

import json
from pathlib import Path

from slfac.testbed.experiment.points import parse_point


def assert_told_as_asked(folder: Path) -> dict:
    """The settings that a run's server was told, each as the experiment has it."""
    asked = json.loads((folder / "about.json").read_text())
    told = json.loads((folder / "metrics.jsonl").read_text().splitlines()[0])["settings"]
    point = parse_point(asked["codec"])
    assert (told["codec_up"], told["codec_down"]) == (point.up, point.down)
    shared = (asked.keys() & told.keys()) - {"data", "devices"}
    assert len(shared) >= 12, shared
    for name in shared:
        assert told[name] == asked[name], name
    return told

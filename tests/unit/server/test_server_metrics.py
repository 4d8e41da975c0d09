import datetime as dt
import json
import os
from pathlib import Path

import pytest

from slfac.server.metrics import METRICS_NAME, Metrics
from slfac.wire.errors import SettingsError, TrainingError


def lines(folder):
    return [json.loads(line) for line in (folder / METRICS_NAME).read_text().splitlines()]


def test_each_event_is_on_disk_and_told_as_it_happens(tmp_path):
    told = []
    metrics = Metrics(tmp_path / "deep" / "out", told.append)
    metrics.write("step", loss=1.23456789, n=3, name="a\nb", none=None, flag=True)
    assert lines(tmp_path / "deep" / "out") == told
    (line,) = told
    assert dt.datetime.fromisoformat(line.pop("time")).utcoffset() == dt.timedelta(0)
    assert line == {
        "event": "step",
        "loss": 1.234568,
        "n": 3,
        "name": "a\nb",
        "none": None,
        "flag": True,
    }
    metrics.close()


def test_numbers_that_are_not_finite_become_null_so_that_the_file_is_json(tmp_path):
    metrics = Metrics(tmp_path)
    metrics.write("x", a=float("nan"), b={"c": float("inf"), "d": {"e": -float("inf")}})
    metrics.close()
    (line,) = lines(tmp_path)
    assert (line["a"], line["b"]) == (None, {"c": None, "d": {"e": None}})


def test_an_earlier_run_is_neither_mixed_nor_overwritten(tmp_path):
    metrics = Metrics(tmp_path)
    metrics.write("first")
    metrics.close()
    with pytest.raises(
        SettingsError, match=r"setting out is .*holds an earlier run.*choose another"
    ):
        Metrics(tmp_path)
    assert [line["event"] for line in lines(tmp_path)] == ["first"]


def test_a_folder_that_cannot_be_used_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=r"setting out is .*file.*choose a writable folder"):
        Metrics(tmp_path / "file" / "out")


def test_a_full_disk_ends_the_run_with_an_error_of_ours(tmp_path):
    metrics = Metrics(tmp_path)
    path = (tmp_path / METRICS_NAME).resolve()
    opened = [int(d.name) for d in Path("/proc/self/fd").iterdir() if d.resolve() == path]
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, *opened)
    os.close(full)
    with pytest.raises(TrainingError, match=r"metrics\.jsonl: No space left.*free some space"):
        metrics.write("step")
    with pytest.raises(OSError, match="No space left"):
        metrics.close()

import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import msgspec
import numpy as np
import pytest
from PIL import Image

from slfac.testbed.report import (
    PHASES,
    DeviceReport,
    RoundPoint,
    RunReport,
    text_table,
    write_comparison,
    write_report,
)
from slfac.testbed.report.model import Published
from slfac.testbed.report.write import Comparison, write_runs
from slfac.wire.errors import RunError

EVIL = '"><script>alert("x")</script>&'
REQUIRED = {
    "accuracy",
    "accuracy_by_round",
    "loss_by_round",
    "bytes_up",
    "bytes_down",
    "float32_bytes_up",
    "float32_bytes_down",
    "wire_bytes_up",
    "wire_bytes_down",
    "seconds",
    "rounds",
    "devices",
    "codec",
    "seed",
    "model",
    "cut",
    "dataset",
    "partition",
    "train_samples",
    "test_samples",
    "versions",
    "machine",
    "date",
    "per_device",
    "by_round",
    "balanced_accuracy",
    "test_loss",
    "recall",
    "confusion",
    "finished",
    "folder",
    "mode",
    "links",
    "carried_out_by",
    "revision",
    "settings",
    "faults",
    "tables",
    "notes",
    "published",
}
REQUIRED_OF_DEVICE = {
    "name",
    "samples",
    "torch_imported",
    "peak_rss_mb",
    "bytes_up",
    "bytes_down",
    "steps",
    "phase_ms",
    "provider",
    "joules",
    "wire_bytes_up",
    "wire_bytes_down",
    "late",
    "refused",
    "clock_offset_ms",
}


def device(index, **changes):
    values = {
        "name": f"device-{index}",
        "samples": 100 + index,
        "torch_imported": False,
        "peak_rss_mb": 140.4,
        "bytes_up": 1_234_567,
        "bytes_down": 2_000,
        "steps": 10,
        "phase_ms": {phase: 100.0 * (n + 1) for n, phase in enumerate(PHASES)},
    }
    return DeviceReport(**{**values, **changes})


def points(rounds):
    return [
        RoundPoint(
            round=n,
            accuracy=0.9 - 0.5 / n,
            loss=1 / n,
            seconds=2.0 * n,
            bytes_up=1000 * n,
            bytes_down=900 * n,
            float32_bytes_up=16_000 * n,
            float32_bytes_down=16_000 * n,
        )
        for n in range(1, rounds + 1)
    ]


def run(devices=2, **changes):
    values = {
        "accuracy": 0.8754,
        "bytes_up": 2_469_134,
        "bytes_down": 4_000,
        "float32_bytes_up": 24_691_340,
        "float32_bytes_down": 9_000,
        "wire_bytes_up": 2_500_000,
        "wire_bytes_down": 4_100,
        "seconds": 83.21,
        "rounds": 3,
        "devices": devices,
        "codec": "slfac:theta=0.9",
        "seed": 7,
        "model": "small",
        "cut": "relu1",
        "dataset": "digits",
        "partition": "iid",
        "train_samples": 4000,
        "test_samples": 1000,
        "date": "2026-01-02T03:04:05+00:00",
        "versions": {"slfac": "0.1.0"},
        "machine": {"processor": "x86_64"},
        "per_device": tuple(device(index) for index in range(devices)),
    }
    return RunReport(**{**values, **changes})


class Checker(HTMLParser):
    """Collects tags and attributes, and holds open and close tags together."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.sources, self.open = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "srcset", "href")]
        if tag not in ("meta", "img", "source"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def size_of(path):
    with Image.open(path) as image:
        image.load()
        return image.size


def test_json_has_exactly_the_fields_that_are_promised(tmp_path):
    written = write_report(run(), points(3), tmp_path / "out")
    raw = (tmp_path / "out" / "report.json").read_bytes()
    report = json.loads(raw)
    assert set(report) == REQUIRED
    assert report["devices"] == 2
    assert [set(one) for one in report["per_device"]] == [REQUIRED_OF_DEVICE] * 2
    assert report["per_device"][0]["torch_imported"] is False
    assert report["accuracy_by_round"] == [point.accuracy for point in points(3)]
    assert report["loss_by_round"] == [point.loss for point in points(3)]
    assert msgspec.json.decode(raw, type=RunReport) == written


def test_files_are_those_three_and_replace_older_ones(tmp_path):
    write_report(run(), points(1), tmp_path)
    write_report(run(), points(3), tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["curves.png", "report.html", "report.json"]
    width, height = size_of(tmp_path / "curves.png")
    assert width > 1000
    assert height > 800


def test_curves_show_the_data(tmp_path):
    # The same figure with another accuracy differs only inside the first panel.
    images = []
    for name, shift in (("a", 0.0), ("b", 0.05)):
        moved = [msgspec.structs.replace(p, accuracy=p.accuracy - shift) for p in points(4)]
        write_report(run(), moved, tmp_path / name)
        with Image.open(tmp_path / name / "curves.png") as image:
            images.append(np.asarray(image.convert("RGB")).astype(int))
    changed = np.argwhere(np.abs(images[0] - images[1]).sum(axis=2) > 0)
    assert len(changed) > 50
    assert (changed < np.array(images[0].shape[:2]) / 2).all()


def test_html_is_one_whole_page_without_anything_from_elsewhere(tmp_path):
    write_report(run(), points(3), tmp_path)
    text = (tmp_path / "report.html").read_text("utf-8")
    page = Checker(text)
    assert page.open == []
    assert page.tags.count("svg") == 4
    assert page.sources
    assert all(source.startswith("#") for source in page.sources)
    assert not re.search(r"https?://|@import|url\((?!#)|<script|<link", text)
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text
    for shown in ("87.5 %", "2.47 MB", "4.00 kB", "83.2 s", "device-1", "x86_64", "140 MB"):
        assert shown in text
    assert "{title}" not in text


def test_html_escapes_every_text(tmp_path):
    fields = ("codec", "model", "cut", "dataset", "partition", "date")
    write_report(run(**dict.fromkeys(fields, EVIL)), points(2), tmp_path)
    text = (tmp_path / "report.html").read_text("utf-8")
    assert "<script" not in text
    assert text.count("&lt;script&gt;") >= len(fields)
    assert Checker(text).open == []


def test_html_escapes_names_of_devices_phases_versions_and_machines(tmp_path):
    evil = run(
        per_device=(device(0, name=EVIL, phase_ms={EVIL: 3.0}),),
        versions={EVIL: EVIL},
        machine={EVIL: EVIL},
    )
    write_report(evil, points(2), tmp_path)
    text = (tmp_path / "report.html").read_text("utf-8")
    assert "<script" not in text
    assert text.count("&lt;script&gt;") >= 6


@pytest.mark.parametrize(("rounds", "devices"), [(0, 0), (0, 1), (1, 1), (200, 40)])
def test_any_number_of_rounds_and_devices_can_be_drawn(tmp_path, rounds, devices):
    write_report(run(devices=devices), points(rounds), tmp_path)
    assert size_of(tmp_path / "curves.png")[0] > 1000


def test_long_names_and_dollar_signs_do_not_break_the_drawing(tmp_path):
    codec = "a$_b$\\frac{" + 100 * "x"
    odd = run(codec=codec, per_device=(device(0, name="$x^{$"), device(1, name="_" * 200)))
    write_comparison([write_report(odd, points(2), tmp_path)], tmp_path)
    assert size_of(tmp_path / "comparison.png")[0] > 1000


def test_runs_without_bytes_or_steps_are_drawn(tmp_path):
    still = [msgspec.structs.replace(p, bytes_up=0, bytes_down=0) for p in points(2)]
    quiet = run(bytes_up=0, bytes_down=0, per_device=(device(0, steps=0, phase_ms={}),))
    write_comparison([write_report(quiet, still, tmp_path)], tmp_path)
    assert "-" in text_table([quiet])


def test_comparison_files(tmp_path):
    runs = [
        write_report(run(codec=codec, seed=seed), points(3), tmp_path / str(seed))
        for seed, codec in enumerate(["float32", EVIL, "float32"])
    ]
    write_comparison(runs, tmp_path / "all")
    folder = tmp_path / "all"
    assert sorted(path.name for path in folder.iterdir()) == [
        "comparison.html",
        "comparison.json",
        "comparison.png",
    ]
    assert [one["seed"] for one in json.loads((folder / "comparison.json").read_bytes())] == [
        0,
        1,
        2,
    ]
    text = (folder / "comparison.html").read_text("utf-8")
    assert "<script" not in text
    assert "float32, seed 0" in text
    assert "float32, seed 2" in text
    assert Checker(text).open == []


def test_published_figures_stand_beside_the_runs_they_belong_to(tmp_path):
    published = Published(label="Somebody, 2026", round=2, accuracy=0.6543)
    early = Published(label="Before the end", round=4, accuracy=0.7)
    runs = tuple(
        run(codec=codec, partition=partition, by_round=tuple(points(3)), published=figures)
        for partition, figures in (("iid", (published,)), ("own", (published, early)))
        for codec in ("none", "slfac")
    )
    write_runs(Comparison(runs=runs, title="all"), tmp_path / "report.html", None)
    table = (tmp_path / "report.md").read_text()
    iid, own = table.index("## partition iid, beside"), table.index("## partition own, beside")
    assert iid < table.index("| Somebody, 2026 | 2 | 65.43 % | 65.0 % | 65.0 % |") < own
    assert own < table.index("| Before the end | 4 | 70 % | - | - |")
    assert table.count("Before the end") == 1
    page = (tmp_path / "report.html").read_text()
    assert page.count("65.43 %") == 2
    marks = (tmp_path / "report.svg").read_text().count("Before the end")
    assert marks == 1


def test_nothing_to_compare(tmp_path):
    with pytest.raises(RunError, match="no runs to compare"):
        write_comparison([], tmp_path)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match=r"cannot write .*report\.json"):
        write_report(run(), points(1), tmp_path / "file")


def test_text_table_holds_the_numbers():
    text = text_table([run(codec="slfac[bold]:theta=0.9"), run(codec="float32")])
    rows = [line.split("  ") for line in text.splitlines()]
    cells = {cell.strip() for row in rows for cell in row}
    assert {"slfac[bold]:theta=0.9", "87.5 %", "2.47 MB", "4.00 kB", "10.0x", "2.25x"} <= cells
    assert {"140 MB", "83.2 s", "1.23 MB", "0.10", "0.70", "no", *PHASES} <= cells
    assert max(map(len, text.splitlines())) <= 120


def test_importing_the_report_sets_no_global_backend():
    code = "import slfac.testbed.report, sys; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_drawings_of_the_page_have_names_and_take_the_colours_of_both_themes(tmp_path):
    write_report(run(), points(3), tmp_path)
    text = (tmp_path / "report.html").read_text("utf-8")
    drawings = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert len(drawings) == 4
    for drawing in drawings:
        label = re.search(r'role="img" aria-labelledby="([^"]+)"', drawing)[1]
        assert f'<title id="{label}">' in drawing
        assert "var(--figure-ink)" in drawing
        # A colour that is not a variable would be the same on a dark page.
        assert not set(re.findall(r"#[0-9a-f]{6}", drawing)) - {"#000000", "#ffffff"}
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(set(ids)) == len(ids)
    ink = re.findall(r"--figure-ink: (#[0-9a-f]+)", text)
    assert len(ink) == len(set(ink)) == 2


def scored(classes=3):
    matrix = tuple(tuple(100 * row + column for column in range(classes)) for row in range(classes))
    recall = (None, *(0.25 for _ in range(classes - 1)))
    return run(balanced_accuracy=0.4321, test_loss=1.23456, recall=recall, confusion=matrix)


def test_the_page_shows_what_each_class_was_taken_for(tmp_path):
    write_report(scored(), points(2), tmp_path)
    text = (tmp_path / "report.html").read_text("utf-8")
    assert Checker(text).open == []
    for shown in ("43.2 %", "balanced accuracy", "1.2346", "25.0 %", "as 2", ">202<", ">-<"):
        assert shown in text
    report = msgspec.json.decode((tmp_path / "report.json").read_bytes(), type=RunReport)
    assert report.confusion == scored().confusion


def test_a_wide_matrix_is_in_the_file_only_and_a_run_without_has_no_heading(tmp_path):
    write_report(scored(21), points(2), tmp_path)
    text = (tmp_path / "report.html").read_text("utf-8")
    assert "25.0 %" in text
    assert "as 2" not in text
    write_report(run(), points(2), tmp_path)
    assert "Classes of the test set" not in (tmp_path / "report.html").read_text("utf-8")


def test_the_curve_of_balanced_accuracy_is_drawn_where_there_is_one(tmp_path):
    images = []
    for name, value in (("a", 0.42), ("b", 0.5)):
        told = [msgspec.structs.replace(p, balanced_accuracy=value) for p in points(4)]
        write_report(run(), told, tmp_path / name)
        with Image.open(tmp_path / name / "curves.png") as image:
            images.append(np.asarray(image.convert("RGB")).astype(int))
    changed = np.argwhere(np.abs(images[0] - images[1]).sum(axis=2) > 0)
    assert len(changed) > 50
    assert (changed < np.array(images[0].shape[:2]) / 2).all()

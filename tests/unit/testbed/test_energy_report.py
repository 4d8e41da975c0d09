"""The page and the figure of a measured board."""

import io
import os
import subprocess
import sys
from functools import cache
from html.parser import HTMLParser

import msgspec
import numpy as np
import pytest
from PIL import Image

from harness.measured_board import conditions, record, repetitions, sections
from slfac.device.profiling.record import Readings, encode_record
from slfac.testbed.energy.bars import joule_bars, time_bars
from slfac.testbed.energy.figures import overview, panel_image, panels
from slfac.testbed.energy.report import energy_page, write_energy_report
from slfac.testbed.report.theme import DARK, LIGHT
from slfac.wire.errors import RunError

EVIL = '"><script>alert("x")</script>&'


class Page(HTMLParser):
    """Text of a page, its tags, and what it would load."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.loads = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.loads += [value for name, value in attrs if name in ("src", "srcset", "href")]

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), dtype=np.int64)


def without_energy(section):
    return msgspec.structs.replace(section, energy=(), step=None, left_out=())


@pytest.fixture(scope="module")
def page():
    return Page(energy_page(record()))


def test_the_page_says_what_was_measured_on_what_and_how_sure_it_is(page):
    for said in (
        *("NVIDIA Jetson Orin Nano Developer Kit", "jetson (module): VDD_IN, ina3221 1-0040"),
        *("matrix product fp32, 4 threads 20 GFLOP/s 19.61 to 20.4 5", "memory copied 10 GB/s"),
        *("front cut1: forward 30 ms", "2.5 W idle, module", "100 ms a step of cut1"),
        *("700 mJ a step of cut1", "front cut1: forward, drawn 195 mJ 194.4 to 195.6"),
        *("update not resolved its interval is too wide", "3 readings before the first stamp"),
        *("48.2 before, 61.0 after, degrees C", "2 (MAXN_SUPER)", "batches were seeded noise"),
        *("slfac profile run --bundle cut1", "numpy 2.2.6", "link wifi: up 42 Mbit/s 39 to 45 5"),
        "95 % interval over runs, after Student",
    ):
        assert said in page.text, said
    assert page.tags.count("img") == len(panels(record())) == 6


def test_the_page_loads_nothing(page):
    assert page.loads
    assert all(what.startswith("data:image/png;base64,") for what in page.loads)
    assert "script" not in page.tags


def test_without_a_sensor_there_are_times_and_it_is_said():
    page = Page(energy_page(record(sensor=False)))
    assert "no sensor times only" in page.text
    assert "no sensor: times only" in page.text
    assert "joules" not in page.text.lower()
    assert [panel.name for panel in panels(record(sensor=False))] == [
        "Time of a step of each front, by phase",
        "Time of each codec, by phase",
    ]


def test_texts_from_a_file_are_escaped():
    board = msgspec.structs.replace(record().board, title=EVIL)
    front = msgspec.structs.replace(record().fronts[0], name=EVIL, cut="$\\frac{1}$")
    text = energy_page(
        record(
            False, board=board, fronts=(front,), notes=(EVIL,), command=EVIL, machine={EVIL: EVIL}
        )
    )
    assert "<script" not in text
    assert Page(text).text.count('alert("x")') >= 4


def test_bars_are_the_figures():
    bars = time_bars(record(), "front")
    assert [bar.phase for bar in bars] == ["forward", "backward", "update"]
    assert [round(bar.figure.value) for bar in bars] == [30, 60, 10]
    assert all(bar.figure.low < bar.figure.value < bar.figure.high for bar in bars)
    joules = joule_bars(record(), "front")
    assert [bar.phase for bar in joules] == ["forward", "backward", "update", "step"]
    assert joules[1].figure.value == pytest.approx(450.0)
    assert joules[2].figure is None
    assert joules[2].why == "not resolved: its interval is too wide"
    assert {bar.group for bar in joule_bars(record(), "codec")} == {"slfac"}


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_every_panel_is_drawn(theme):
    background = np.array([int(theme.page[n : n + 2], 16) for n in (1, 3, 5)])
    for panel in panels(record()):
        image = pixels(panel_image(panel, theme))
        drawn = np.any(np.abs(image - background) > 30, axis=2)
        assert 0.02 < drawn.mean() < 0.9, panel.name
        # Nothing is cut off: the outermost pixels are background.
        edges = (image[0], image[-1], image[:, 0], image[:, -1])
        assert all(np.abs(edge - background).max() <= 30 for edge in edges), panel.name


def test_power_is_drawn_over_what_ran():
    (power,) = [panel for panel in panels(record()) if panel.name == "Power over time"]
    said = record().readings
    # The same watts, the least first: axes and bands are the same.
    sorted_ = msgspec.structs.replace(said, watts=tuple(sorted(said.watts)))
    (rising,) = [p for p in panels(record(readings=sorted_)) if p.name == "Power over time"]
    images = [pixels(panel_image(panel, LIGHT)) for panel in (power, rising)]
    differs = np.any(images[0] != images[1], axis=2)
    assert differs.mean() > 0.01


def test_readings_of_single_steps_are_drawn_as_long_as_they_average():
    said = record().readings
    longer = msgspec.structs.replace(said, window_s=(0.04,) * len(said.t_s))
    images = []
    for given in (record(), record(readings=longer)):
        (zoom,) = [panel for panel in panels(given) if "some steps" in panel.name]
        images.append(pixels(panel_image(zoom, LIGHT)))
    # Lines of 40 ms instead of 10 ms, on an axis of half a second.
    assert np.any(images[0] != images[1], axis=2).mean() > 5e-4


@cache
def odd():
    """Measurements with holes."""
    nothing = record().readings
    throttled = tuple(
        msgspec.structs.replace(
            one,
            repetitions=repetitions(
                one.begin_s, throttled=True, seconds=one.repetitions[0].seconds
            ),
        )
        for one in sections()
    )
    failed = tuple(
        msgspec.structs.replace(without_energy(one), repetitions=(), spans={}, failed="killed")
        for one in sections()
    )
    return {
        "no sections": record(sections=()),
        "no fronts": record(sections=sections()[:5], fronts=()),
        "all throttled": record(sections=throttled),
        "all failed": record(sections=failed),
        "sensor without readings": record(readings=Readings()),
        "one repetition": record(
            sections=tuple(
                msgspec.structs.replace(one, repetitions=one.repetitions[:1]) for one in sections()
            )
        ),
        "negative power": record(
            readings=msgspec.structs.replace(nothing, watts=tuple(-w for w in nothing.watts))
        ),
        "many readings": record(
            readings=Readings(
                t_s=tuple(0.005 * n for n in range(9_000)),
                window_s=(0.001,) * 9_000,
                watts=(3.0,) * 9_000,
            )
        ),
        "hours": record(seconds=7200.0),
        "no time": record(seconds=0.0, sections=()),
        "hot before": record(before=conditions(throttled_now=("throttled",), power_mode=None)),
        "long names": record(fronts=(msgspec.structs.replace(record().fronts[0], name="x" * 300),)),
    }


@pytest.mark.parametrize("name", odd())
def test_what_is_missing_is_said_and_nothing_fails(name):
    assert overview(odd()[name]).startswith(b"\x89PNG")
    said = {
        "all throttled": "front cut1: forward unknown every repetition was throttled",
        "all failed": "memory copied unknown killed",
    }
    if name in said:
        assert said[name] in Page(energy_page(odd()[name])).text


def test_files_are_replaced_and_folders_made(tmp_path):
    folder = tmp_path / "new"
    files = write_energy_report(record(sensor=False), folder, "board")
    assert files == [folder / "board.html", folder / "board.png"]
    files[0].write_text("old")
    assert write_energy_report(record(sensor=False), folder, "board") == files
    assert files[0].read_text().startswith("<!doctype html>")
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot write"):
        write_energy_report(record(sensor=False), tmp_path / "file", "board")


def test_the_report_needs_neither_torch_nor_rich(tmp_path):
    (tmp_path / "board.json").write_bytes(encode_record(record(sensor=False)))
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('torch', 'rich', 'scipy', 'onnx')))\n"
        "from slfac.cli import main; sys.exit(main(['profile', 'report', 'board.json']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["report: board.html", "report: board.png"]
    assert (tmp_path / "board.png").read_bytes().startswith(b"\x89PNG")

"""Reports from folders of runs: whole ones, half-written ones, damaged ones."""

import io
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from harness.metrics_lines import START, Lines, whole_run
from slfac.testbed.report.compared import group_table, to_target
from slfac.testbed.report.details import fault_table, link_table
from slfac.testbed.report.folders import read_run, read_runs
from slfac.testbed.report.groups import sections_of
from slfac.testbed.report.order import write_order
from slfac.testbed.report.rows import class_table, device_table, phase_table
from slfac.wire.errors import SettingsError


def report(tmp_path, *folders, **options):
    out = tmp_path / "page.html"
    said = io.StringIO()
    write_order(Console(file=said, width=200), folders=folders, out=out, **options)
    return out.read_text("utf-8"), out.with_suffix(".md").read_text("utf-8"), said.getvalue()


def faults(run):
    return [(f.at_s, f.who, f.what, f.recovered_s) for f in run.faults]


def test_a_run_is_read_with_what_made_it(tmp_path):
    run = read_run(whole_run(seed=3).write(tmp_path))
    assert (run.accuracy, run.rounds, run.seconds, run.seed) == (0.7, 3, 30.0, 3)
    assert (run.codec, run.partition, run.mode) == ("slfac", "iid", "parallel")
    assert (run.revision, run.versions["torch"]) == ("0123456789ab", "2.13.0")
    assert run.finished
    assert run.notes == run.faults == ()
    assert [device.clock_offset_ms for device in run.per_device] == [3.25, None]


def test_a_page_of_one_run_shows_phases_links_and_settings(tmp_path):
    page, markdown, said = report(tmp_path, whole_run().write(tmp_path / "a"))
    for shown in ("Use of the links", "0.667 Mbit/s", "60.0 %", "+3.2 ms", "0123456789ab"):
        assert shown in page
    assert "Nothing went wrong." in page
    assert page.count("<svg") == 4
    assert "| d1 |" in markdown
    # Markdown holds the same tables: use of the links, and that nothing went wrong.
    for shown in ("Use of the links", "0.667 Mbit/s", "Faults and recoveries", "Nothing went"):
        assert shown in markdown
    assert "written: " in said


def test_a_target_is_reached_at_the_end_of_the_first_round_that_scored_it(tmp_path):
    run = read_run(whole_run().write(tmp_path / "a"))
    for target, round_, seconds, total in ((50, 1, 10.0, 1900), (60, 2, 20.0, 3800)):
        point = to_target(run, target)
        assert (point.round, point.seconds) == (round_, seconds)
        assert point.bytes_up + point.bytes_down == total
    assert to_target(run, 70.5) is None


def test_seeds_are_one_row_with_the_deviation_of_a_sample(tmp_path):
    for seed, (accuracy, begins) in enumerate([(0.5, 0.0), (0.7, 4.0)]):
        lines = Lines(seed=seed)
        lines.round(0, begins + 10.0, accuracy=accuracy, seconds=begins + 10.0)
        lines.end(begins + 11.0).write(tmp_path / str(seed))
    (section,) = sections_of(read_runs([tmp_path]).runs)
    (group,) = section.groups
    mean, deviation = group.over(lambda run: run.accuracy)
    assert (mean, deviation) == (pytest.approx(0.6), pytest.approx(0.2 / 2**0.5))
    ((seconds, height, _),) = group.curve(lambda point: point.seconds)
    assert (seconds, height) == (pytest.approx(12.0), pytest.approx(0.6))


def test_what_nobody_measured_in_joules_is_said_to_be_unknown(tmp_path):
    folders = [whole_run(seed=seed).write(tmp_path / str(seed)) for seed in (0, 1)]
    for chosen in (folders[:1], folders):
        page, markdown, _ = report(tmp_path, *chosen)
        assert "<td>Energy</td><td>unknown</td>" in page
        assert markdown.count("| Energy | unknown |") == len(chosen)


def test_the_share_of_a_link_is_told_where_its_rate_is_known(tmp_path):
    folder = whole_run().write(tmp_path / "a")
    (folder / "about.json").write_text(json.dumps({"link": ["1Mbit/5Mbit"], "dataset": "digits"}))
    page, _, _ = report(tmp_path, folder)
    assert "0.667 Mbit/s (66.7 %)" in page
    assert "1.33 Mbit/s (26.7 %)" in page
    assert "cnn on digits" in page


def test_runs_are_compared_by_codec_within_what_they_share(tmp_path):
    for codec in ("none", "slfac"):
        for partition in ("iid", "dirichlet:beta=0.5"):
            for seed in (0, 1):
                name = f"{codec}-{partition[:3]}-{seed}"
                run = whole_run(codec=codec, partition=partition, seed=seed)
                run.write(tmp_path / "runs" / name)
    found = read_runs([tmp_path / "runs"]).runs
    sections = sections_of(found)
    assert {section.title for section in sections} == {
        "partition iid",
        "partition dirichlet:beta=0.5",
    }
    for section in sections:
        assert [group.label for group in section.groups] == ["none", "slfac"]
        assert [sorted(r.seed for r in group.runs) for group in section.groups] == [[0, 1]] * 2
    page, markdown, said = report(tmp_path, tmp_path / "runs", target=60)
    assert page.count("<svg") == 2 * 3
    assert "reached 60 %" in page
    assert "70.0 ± 0.0 %" in markdown
    assert "2 of 2" in said


def test_who_was_lost_and_came_back_is_told_with_when(tmp_path):
    lines = Lines().step("d1", 1.0).step("d1", 2.0)
    lines.event("left", 4.0, device="d2", reason="its connection is gone")
    lines.event("reconnected", 12.5, device="d1", round=0, silent_s=10.0)
    lines.event("joined", 16.0, device="d2", round=1)
    lines.event("resumed", 18.0, device="d1", round=1, clock=None)
    lines.event("restarted", 20.0, round=1, rounds=3)
    lines.event("checkpoint_failed", 21.0, finished_rounds=1, reason="no space")
    lines.round(0, 22.0).end(30.0, refused={"order": 2}, refused_keys=1, repeated=3)
    run = read_run(lines.write(tmp_path))
    assert faults(run) == [
        (2.5, "d1", "its connection broke, and it went on over a new one", 10.0),
        (4.0, "d2", "left: its connection is gone", 12.0),
        (18.0, "d1", "started again, and began its round again", None),
        (20.0, "server", "started again after 1 rounds", None),
        (21.0, "server", "checkpoint failed: no space", None),
        (30.0, "server", "refused 2 messages (order)", None),
        (30.0, "server", "refused 1 connections for their keys", None),
        (30.0, "server", "3 requests came again after a break", None),
    ]


def test_a_pause_that_nothing_explains_is_told_and_an_evaluation_is_not(tmp_path):
    lines = Lines()
    for number in range(20):
        lines.step("d1", 0.2 * number)
        lines.step("d2", 0.2 * number)
    lines.step("d1", 15.0).step("d2", 5.0)
    # The evaluation takes as long after each round.
    for number in range(3):
        lines.round(number, 16.0 + 8 * number).step("d1", 23.0 + 8 * number)
    run = read_run(lines.end(50.0).write(tmp_path))
    assert faults(run) == [(3.8, "d1", "made no step for a while", 11.2)]


def test_what_was_done_on_purpose_is_told_as_such(tmp_path):
    folder = whole_run().write(tmp_path / "a")
    cut = {"time": START.isoformat(), "who": "d2", "what": "link cut", "recovered_s": 10}
    (folder / "injected.jsonl").write_text(json.dumps(cut) + "\n{}\nnothing\n")
    page, _, _ = report(tmp_path, folder)
    assert "link cut (on purpose)" in page
    assert "after 10.0 s" in page
    assert "2 lines of injected.jsonl are damaged" in page


def test_tables_that_were_added_are_shown_and_crooked_ones_are_not(tmp_path):
    folder = whole_run().write(tmp_path / "a")
    good = {"title": "Baseline", "columns": ["host", "Mbit/s"], "rows": [["pi-1", "19.2"]]}
    crooked = {"title": "Crooked", "columns": ["host"], "rows": [["a", "b"]]}
    (folder / "tables.json").write_text(json.dumps([good, crooked]))
    page, markdown, _ = report(tmp_path, folder)
    assert "19.2" in page
    assert "### Baseline" in markdown
    assert "Crooked" not in page
    assert "a table with rows of another length was passed over" in page


def test_energy_is_drawn_as_far_as_it_is_known_of_all(tmp_path):
    lines = Lines()
    for number, unknown in enumerate((0, 0, 1)):
        lines.round(number, 10.0 * number, joules={"board": 5.0}, unknown=unknown)
    run = read_run(lines.end(40.0).write(tmp_path / "a"))
    assert [point.joules for point in run.by_round] == [{"board": 5.0}, {"board": 10.0}, {}]
    other = Lines(codec="none")
    for number in range(3):
        other.round(number, 10.0 * number, joules={"board": 5.0})
    other.end(40.0).write(tmp_path / "b")
    page, markdown, _ = report(tmp_path, tmp_path / "a", tmp_path / "b")
    assert "Test accuracy by joules" in page
    assert "15 J" in markdown
    assert "energy, board" in markdown


@pytest.mark.parametrize(("slow_s", "ticks"), [(15.0, {"10", "20", "40"}), (900.0, {"1000"})])
def test_with_a_target_the_figure_has_seconds_and_what_is_far_apart_can_be_told(
    tmp_path, slow_s, ticks
):
    for codec, seconds in (("slfac", 10.0), ("none", slow_s)):
        lines = Lines(codec=codec)
        for number in range(3):
            lines.round(number, seconds * (number + 1), seconds=seconds)
        lines.end(3 * seconds).write(tmp_path / codec)
    folders = (tmp_path / "slfac", tmp_path / "none")
    _, markdown, _ = report(tmp_path, *folders)
    assert "![Test accuracy by round and by bytes](page.svg)" in markdown
    figure = (tmp_path / "page.svg").read_text()
    assert "<!-- seconds of training and evaluation -->" not in figure
    _, markdown, _ = report(tmp_path, *folders, target=50)
    assert "![Test accuracy by round, by bytes and by seconds](page.svg)" in markdown
    _, of_seconds = (tmp_path / "page.svg").read_text().split('<g id="axes_3">')
    assert "<!-- seconds of training and evaluation -->" in of_seconds
    found = set(re.findall(r"<!-- (\d+) -->", of_seconds))
    assert ticks <= found
    # On a linear axis to 2700 s, the fast run would be a stroke.
    assert ("0" in found) == (slow_s < 100)


def test_a_run_that_is_under_way_is_shown_as_far_as_it_is(tmp_path):
    lines = Lines().step("d1", 1.0).step("d2", 1.5).round(0, 2.0)
    folder = lines.write(tmp_path / "a")
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"event": "step", "time": "2026-')
    page, _, said = report(tmp_path, folder)
    for text in (page, said):
        assert "the run has not come to its end: 1 rounds are shown" in text
        assert "1 lines of metrics.jsonl are damaged" in text
    assert "d2" in page


def test_a_run_without_a_round_or_a_score_is_drawn(tmp_path):
    Lines().write(tmp_path / "runs" / "a")
    unscored = Lines(codec="none").round(0, 1.0, accuracy=None, balanced_accuracy=None)
    unscored.end(2.0).write(tmp_path / "runs" / "b")
    page, _, _ = report(tmp_path, tmp_path / "runs")
    assert "2 runs compared" in page


def test_folders_without_a_run_are_left_out_with_a_line(tmp_path):
    whole_run().write(tmp_path / "runs" / "good")
    empty = tmp_path / "runs" / "empty"
    empty.mkdir()
    (empty / "metrics.jsonl").write_text("")
    page, _, said = report(tmp_path, tmp_path / "runs")
    assert "left out: " in said
    assert "holds no beginning of a run" in page


@pytest.mark.parametrize("content", [None, "", "[]\n", '{"event": "end"}\n', "\x00\xff" * 100])
def test_nothing_but_damage_is_one_line(tmp_path, content):
    if content is not None:
        (tmp_path / "metrics.jsonl").write_text(content)
    with pytest.raises(SettingsError) as caught:
        report(tmp_path, tmp_path)
    assert caught.value.remedy
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"out": "page.txt"}, "setting out"),
        ({"target": 0}, "setting target is 0"),
        ({"target": float("nan")}, "setting target is nan"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused(tmp_path, options, said):
    if "out" in options:
        options = {"out": tmp_path / options["out"]}
    with pytest.raises(SettingsError, match=said):
        write_order(Console(file=io.StringIO()), folders=[tmp_path], **options)


def test_numbers_that_are_none_are_not_taken_for_such(tmp_path):
    lines = whole_run().round(1, 20.0, bytes_up=10**400).round(2, 30.0, seconds=-1.0)
    lines.event("reconnected", 5.0, device="\u6e90\n\x00", round=0, silent_s=1e300)
    lines.round(2, 30.0, recall=[0.5, 0.5], confusion=[[1, 2, 3]])
    run = read_run(lines.write(tmp_path))
    assert run.notes == ("3 lines of metrics.jsonl are damaged and were passed over",)
    assert (run.recall, run.confusion) == ((0.5, 0.5), ())
    assert "0.667 Mbit/s" in report(tmp_path, tmp_path)[0]


def test_text_of_a_run_is_no_markup(tmp_path):
    evil = '"><script>alert(1)</script>|`'
    lines = Lines(codec=evil, partition=evil)
    lines.event("left", 1.0, device=evil, reason=evil).step(evil, 2.0).round(0, 3.0)
    folder = lines.write(tmp_path / "a")
    (folder / "about.json").write_text(json.dumps({"dataset": evil, "link": [evil]}))
    for folders in ([folder], [folder, whole_run().write(tmp_path / "b")]):
        page, markdown, _ = report(tmp_path, *folders)
        assert "<script" not in page
        assert "<script" not in markdown
        assert not re.search(r"https?://|url\((?!#)|<link", page)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_whatever_a_line_says_it_is_read_or_passed_over(tmp_path_factory, data):
    lines = whole_run().step("d1", 2.0).event("left", 3.0, device="d1", reason="x").lines
    index = data.draw(st.integers(0, len(lines) - 1))
    event = json.loads(lines[index])
    field = data.draw(st.sampled_from(sorted(event)))
    event[field] = data.draw(VALUES)
    lines[index] = json.dumps(event)
    folder = tmp_path_factory.mktemp("run")
    (folder / "metrics.jsonl").write_text("\n".join(lines))
    try:
        run = read_run(folder)
    except SettingsError:
        assert index == 0
    else:
        assert run.rounds <= 4
        for columns, rows in (
            fault_table(run.faults),
            link_table(run),
            device_table(run.per_device),
            phase_table(run.per_device),
            class_table(run),
            *(group_table(section.groups) for section in sections_of([run])),
        ):
            assert all(len(row) == len(columns) for row in rows)

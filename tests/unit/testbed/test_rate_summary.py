"""What an experiment makes of its runs: summaries, tables, files, progress."""

import io
import json

import msgspec
import pytest
from PIL import Image
from rich.console import Console

from slfac.testbed.experiment.points import parse_point
from slfac.testbed.experiment.progress import seconds_left
from slfac.testbed.experiment.record import RunRecord, codec_print, find, keep
from slfac.testbed.rate.markdown import result_markdown
from slfac.testbed.rate.plan import rate_plan
from slfac.testbed.rate.plot import rate_figure
from slfac.testbed.rate.report import report
from slfac.testbed.rate.rows import best_table, rate_table, target_table, wire_line
from slfac.testbed.rate.summary import Best, Result, summarise, to_target
from slfac.testbed.report import DeviceReport, RoundPoint
from slfac.wire.errors import RunError

CODECS = ("none", "fp16", "topk:ratio=0.01", "topk:ratio=0.1", "topk:ratio=0.1@fp16")


def rate_run(codec, seed, accuracies, megabytes):
    """A run of some rounds, of a second and of equal bytes each."""
    point = parse_point(codec)
    half = int(megabytes * 1e6 / 2)
    rounds = len(accuracies)
    by_round = tuple(
        RoundPoint(
            round=index + 1,
            accuracy=accuracy,
            loss=1.0,
            seconds=float(index + 1),
            bytes_up=half * (index + 1) // rounds,
            bytes_down=half * (index + 1) // rounds,
            float32_bytes_up=10**8,
            float32_bytes_down=10**8,
        )
        for index, accuracy in enumerate(accuracies)
    )
    device = DeviceReport(
        name="device-1",
        samples=10,
        torch_imported=False,
        peak_rss_mb=1.0,
        bytes_up=half,
        bytes_down=half,
        steps=3,
        phase_ms={},
    )
    return RunRecord(
        codec=codec,
        codec_up=point.up,
        codec_down=point.down,
        seed=seed,
        accuracy=accuracies[-1],
        total_bytes=2 * half,
        bytes_up=half,
        bytes_down=half,
        payload_bytes_up=half // 2,
        payload_bytes_down=half // 4,
        wire_bytes_up=half + 10,
        wire_bytes_down=half + 30,
        float32_bytes_up=10**8,
        float32_bytes_down=10**8,
        smashed_values=10**6,
        gradient_values=10**6,
        seconds=float(rounds),
        wall_seconds=rounds + 3.0,
        jobs=1,
        train_samples=10,
        test_samples=10,
        date="2026-11-22T00:00:00+00:00",
        by_round=by_round,
        per_device=(device,),
    )


RUNS = [
    rate_run("none", 0, [0.5, 0.84, 0.86], 40),
    rate_run("none", 1, [0.5, 0.85, 0.88], 40),
    rate_run("fp16", 0, [0.5, 0.84, 0.86], 20),
    rate_run("fp16", 1, [0.5, 0.80, 0.88], 20),
    rate_run("topk:ratio=0.01", 0, [0.2, 0.3, 0.4], 1),
    rate_run("topk:ratio=0.01", 1, [0.2, 0.9, 0.5], 1),
    rate_run("topk:ratio=0.1", 0, [0.5, 0.8, 0.85], 4),
    rate_run("topk:ratio=0.1", 1, [0.5, 0.8, 0.88], 6),
    rate_run("topk:ratio=0.1@fp16", 0, [0.5, 0.8, 0.85], 10),
]


def summary_of(plan, runs=RUNS):
    result = summarise(plan, runs, command="slfac experiment rate", failed=[])
    return result, {entry.codec: entry for entry in result.summary}


@pytest.fixture
def plan(tmp_path):
    return rate_plan(codecs=CODECS, seeds=(0, 1), out=tmp_path, target=85.0)


def test_a_codec_is_compared_with_none_seed_by_seed(plan):
    _, codecs = summary_of(plan)
    topk = codecs["topk:ratio=0.1"]
    assert topk.seeds == (0, 1)
    assert topk.accuracy.mean == pytest.approx(0.865)
    assert topk.difference_pp.mean == pytest.approx(-0.5)
    assert topk.difference_pp.high == pytest.approx(-0.5 + 12.7062 * 0.5, rel=1e-4)
    assert topk.ratio == pytest.approx(8.0)
    assert topk.wire_bytes_up.mean == topk.bytes_up.mean + 10
    assert topk.wire_bytes_down.mean == topk.bytes_down.mean + 30
    assert topk.wire_ratio == pytest.approx((40e6 + 40) / (5e6 + 40), rel=1e-9)
    assert topk.wire_ratio < topk.ratio
    assert topk.bits_per_value_up == pytest.approx(8 * 2.5 / 2)
    assert codecs["none"].difference_pp.mean == 0
    # Seed 1 is missing: none's bytes of seed 0 alone count.
    alone = codecs["topk:ratio=0.1@fp16"]
    assert (alone.seeds, alone.accuracy.std, alone.difference_pp.low) == ((0,), None, None)
    assert alone.ratio == pytest.approx(4.0)


def test_the_front_and_the_best_within_a_loss(plan):
    result, codecs = summary_of(plan)
    assert {name for name, entry in codecs.items() if entry.on_front} == {
        "fp16",
        "topk:ratio=0.01",
        "topk:ratio=0.1",
    }
    assert result.best == {
        "none": Best("none", within=True),
        "fp16": Best("fp16", within=True),
        "topk": Best("topk:ratio=0.1", within=True),
        "topk@fp16": Best("topk:ratio=0.1@fp16", within=True),
    }


def test_a_family_that_always_loses_more_has_its_setting_of_least_loss(plan):
    strict, _ = summary_of(plan.model_copy(update={"best_within": 0.4}))
    assert strict.best == {
        "none": Best("none", within=True),
        "fp16": Best("fp16", within=True),
        "topk": Best("topk:ratio=0.1", within=False),
        "topk@fp16": Best("topk:ratio=0.1@fp16", within=False),
    }
    _, rows = best_table(strict.summary, strict.best)
    assert [row[1] for row in rows] == [
        *("none", "fp16", "topk:ratio=0.1 (loses more)", "topk:ratio=0.1@fp16 (loses more)"),
    ]
    report(plan, strict, Console(file=io.StringIO()))
    path = plan.out / "adhoc" / "result.json"
    best = json.loads(path.read_text())["best"]
    assert best["topk"] == {"codec": "topk:ratio=0.1", "within": False}
    chosen = rate_plan(best_of=path, split="test")
    assert [point.label for point in chosen.points] == [
        setting.codec for setting in strict.best.values()
    ]


def test_codecs_without_a_partner_are_left_out(plan):
    result, _ = summary_of(plan, [run for run in RUNS if run.codec != "none"])
    assert (result.summary, result.best) == ((), {})
    assert len(result.runs) == 7


def test_the_way_to_the_target(plan):
    assert to_target(RUNS[0], 85.0) == (3.0, 40_000_000)
    assert to_target(RUNS[1], 85.0) == (2.0, 2 * (20_000_000 * 2 // 3))
    assert to_target(RUNS[4], 85.0) is None
    _, codecs = summary_of(plan)
    none = codecs["none"].to_target
    assert (none.reached, none.seconds.mean) == (2, 2.5)
    # It was there once, and lost it again.
    once = codecs["topk:ratio=0.01"].to_target
    assert (once.reached, once.seconds, once.bytes) == (1, None, None)
    _, rows = target_table(codecs.values(), 85.0)
    assert rows[0][:3] == ["none", "2 of 2", "2.50 s"]
    assert rows[2][:4] == ["topk:ratio=0.01", "1 of 2", "-", "-"]


def test_the_table_goes_from_most_bytes_to_fewest(plan):
    result, _ = summary_of(plan)
    columns, rows = rate_table(result.summary)
    assert [row[0].removesuffix(" *") for row in rows] == [
        *("none", "fp16", "topk:ratio=0.1@fp16", "topk:ratio=0.1", "topk:ratio=0.01"),
    ]
    assert rows[0][:5] == ["none", "87.0 ± 1.4", "-", "40.0 MB", "1.0x"]
    assert rows[3][:5] == ["topk:ratio=0.1 *", "86.5 ± 2.1", "-0.50 ± 6.35", "5.00 MB", "8.0x"]
    assert all(len(row) == len(columns) for row in rows)


def test_a_line_says_what_tcp_adds(plan):
    runs = [
        msgspec.structs.replace(
            run, wire_bytes_up=run.bytes_up * 1.004 if run.bytes_up > 1e7 else run.bytes_up * 1.03
        )
        for run in RUNS
    ]
    result, _ = summary_of(plan, runs)
    assert "on TCP it is 0.2 to 1.5 % more" in wire_line(result.summary)
    assert "on TCP it is 0.2 % more" in wire_line(result.summary[:1])


def test_the_report_is_written_and_says_what_failed(plan):
    result = summarise(plan, RUNS, command="slfac experiment rate", failed=["slfac <b>: gone"])
    buffer = io.StringIO()
    report(plan, result, Console(file=buffer, width=100))
    shown = buffer.getvalue()
    assert "topk:ratio=0.1@fp16" in shown
    assert "-0.50 ± 6.35" in shown
    assert wire_line(result.summary) in shown
    folder = plan.out / "adhoc"
    page = (folder / "report.html").read_text()
    assert wire_line(result.summary) in page
    assert "topk:ratio=0.1@fp16" in page
    assert "slfac &lt;b&gt;: gone" in page
    with Image.open(folder / "pareto.png") as image:
        assert image.width > 1000
    assert (folder / "pareto.svg").read_text().lstrip().startswith("<?xml")
    values = json.loads((folder / "result.json").read_text())
    assert values["command"] == "slfac experiment rate"
    assert values["failed"] == ["slfac <b>: gone"]
    assert values["runs"][6]["ratio"] == pytest.approx(10.0)
    assert values["runs"][6]["difference_pp"] == pytest.approx(-1.0)
    assert values["runs"][0]["seconds_to_target"] == 3.0
    assert values["runs"][4]["bytes_to_target"] is None
    assert values["plan"]["codecs"] == list(CODECS)
    assert {"processor", "cores", "memory", "system"} <= values["machine"].keys()


def test_a_kept_result_has_its_tables_and_figure_beside_it(plan, tmp_path):
    kept = rate_plan(**{**plan.model_dump(mode="json"), "result": tmp_path / "kept" / "all.json"})
    result = summarise(kept, RUNS, command="slfac experiment rate", failed=["slfac|x: gone"])
    report(kept, result, Console(file=io.StringIO()))
    folder = tmp_path / "kept"
    assert sorted(path.name for path in folder.iterdir()) == ["all.json", "all.md", "all.svg"]
    assert (folder / "all.json").read_bytes() == (kept.out / "adhoc" / "result.json").read_bytes()
    assert (folder / "all.svg").read_bytes() == (kept.out / "adhoc" / "pareto.svg").read_bytes()
    page = (folder / "all.md").read_text()
    columns, rows = rate_table(result.summary)
    for cells in (columns, *rows):
        assert "| " + " | ".join(cells) + " |" in page
    assert "](all.svg)" in page
    assert wire_line(result.summary) in page
    assert "- slfac|x: gone" in page
    assert "```sh\nslfac experiment rate\n```" in page
    # The page follows from the JSON alone.
    again = msgspec.json.decode((folder / "all.json").read_bytes(), type=Result)
    assert result_markdown(rate_plan(**again.plan), again, figure="all.svg") == page


def test_a_result_can_be_the_start_of_the_next_plan(plan):
    result, _ = summary_of(plan)
    report(plan, result, Console(file=io.StringIO()))
    chosen = rate_plan(best_of=plan.out / "adhoc" / "result.json", split="test")
    assert [point.label for point in chosen.points] == [best.codec for best in result.best.values()]


def test_equal_results_give_equal_figures(plan):
    result, _ = summary_of(plan)
    for kind in ("png", "svg"):
        first, again = (
            rate_figure(result.summary, scored_on="test images", kind=kind) for _ in range(2)
        )
        assert first == again


def test_a_run_is_found_by_its_settings_alone(tmp_path):
    settings = {"seed": 0, "rounds": 4}
    assert find(tmp_path, settings) is None
    keep(tmp_path, settings, RUNS[0])
    assert find(tmp_path, settings) == RUNS[0]
    assert find(tmp_path, {**settings, "rounds": 5}) is None


@pytest.mark.parametrize("damage", [b"", b"{}", b"[1"])
def test_a_file_that_is_not_whole_is_no_run(tmp_path, damage):
    keep(tmp_path, {}, RUNS[0])
    (path,) = tmp_path.iterdir()
    path.write_bytes(damage)
    assert find(tmp_path, {}) is None


def test_a_run_that_cannot_be_kept_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot write"):
        keep(tmp_path / "file", {}, RUNS[0])


@pytest.mark.parametrize("spec", ["none", "slfac", "topk", "slfac-rd"])
def test_a_codecs_print_stays_the_same_until_its_bytes_change(spec):
    assert codec_print(spec) == codec_print(spec)


def test_a_codecs_print_tells_settings_and_decoders_apart(monkeypatch):
    prints = {codec_print(f"slfac:theta={theta}") for theta in (0.7, 0.8, 0.9)}
    assert len(prints) == 3
    before = codec_print("fp16")
    from slfac.testbed.experiment import record

    real = record.decode
    monkeypatch.setattr(record, "decode", lambda *a, **k: real(*a, **k) + 1)
    assert codec_print("fp16") != before


@pytest.mark.parametrize(
    ("waiting", "running", "known", "jobs", "left"),
    [
        (3, [], [], 1, None),
        (3, [(5.0, 0.0)], [], 1, None),
        (3, [], [10.0, 20.0], 1, 45.0),
        (3, [(5.0, 0.0)], [20.0], 1, 75.0),
        (2, [(5.0, 0.25)], [20.0], 1, 55.0),
        (4, [(5.0, 0.25), (15.0, 0.75)], [20.0], 2, 50.0),
        (0, [(5.0, 0.25), (19.0, 0.95)], [20.0], 2, 15.0),
        (0, [(30.0, 0.0)], [20.0], 1, 0.0),
        (0, [], [20.0], 1, 0.0),
    ],
)
def test_the_time_that_is_left(waiting, running, known, jobs, left):
    got = seconds_left(waiting=waiting, running=running, known_s=known, jobs=jobs)
    assert got == (None if left is None else pytest.approx(left))


def test_a_run_is_json_and_back():
    assert msgspec.json.decode(msgspec.json.encode(RUNS[0]), type=RunRecord) == RUNS[0]

"""The README's figures are those of the committed result files."""

import json
import re
import statistics
from pathlib import Path

import msgspec
import pytest

from slfac.testbed.rate.markdown import result_markdown
from slfac.testbed.rate.plan import rate_plan
from slfac.testbed.rate.rows import rate_table
from slfac.testbed.rate.summary import Result

ROOT = Path(__file__).parents[2]


def rows(result):
    """One table row a codec: accuracy with spread, bytes each way, ratios."""
    for codec in result["summary"]:
        accuracy = codec["accuracy"]
        yield (
            f"| `{codec['codec']}` "
            f"| {accuracy['mean'] * 100:.1f} ± {accuracy['std'] * 100:.1f} "
            f"| {codec['bytes_up']['mean'] / 1e6:.0f} "
            f"| {codec['bytes_down']['mean'] / 1e6:.0f} "
            f"| {codec['ratio_up']:.1f} | {codec['ratio_down']:.1f} |"
        )


@pytest.mark.parametrize("name", ["mnist5k.json", "fashion-mnist.json"])
def test_tables_hold_the_results(name):
    readme = (ROOT / "README.md").read_text()
    result = json.loads((ROOT / "docs" / "results" / name).read_text())
    assert len(result["runs"]) == 3 * len(result["summary"])
    for row in rows(result):
        assert row in readme, row


@pytest.mark.parametrize("name", ["rate-test.json", "rate-resnet18.json"])
def test_tables_of_codecs_hold_the_results(name):
    readme = (ROOT / "README.md").read_text()
    result = msgspec.json.decode((ROOT / "docs" / "results" / name).read_bytes(), type=Result)
    for entry in sorted(result.summary, key=lambda entry: -entry.total_bytes.mean):
        _, [[_, *cells]] = rate_table([entry])
        row = f"| `{entry.codec}` | {' | '.join(cells[:4])} |"
        assert row in readme, row


def test_pages_of_rate_experiments_hold_the_results():
    files = sorted((ROOT / "docs" / "results").glob("rate-*.json"))
    assert files
    for file in files:
        result = msgspec.json.decode(file.read_bytes(), type=Result)
        # The settings that were chosen stand among the codecs.
        plan = rate_plan(**{**result.plan, "best_of": None})
        page = result_markdown(plan, result, figure=file.with_suffix(".svg").name)
        assert file.with_suffix(".md").read_text() == page
        assert file.with_suffix(".svg").exists()


def test_results_say_what_made_them():
    for path in (ROOT / "docs" / "results").glob("*.json"):
        result = json.loads(path.read_text())
        assert result["command"].startswith(("slfac ", "python -m harness."))
        assert result["date"].startswith("20")
        assert {"processor", "cores", "memory", "system"} <= result["machine"].keys()
        assert {"python", "slfac", "onnxruntime", "numpy"} <= result["versions"].keys()
        # A board's own measurement knows no torch, and has its seed among its settings.
        board = result["command"].startswith("slfac profile run ")
        assert ("torch" in result["versions"]) != board
        made_by = [*result.get("runs", ()), *result.get("sources", ())] or [result]
        seeds = [result["settings"]["seed"]] if board else [what["seed"] for what in made_by]
        assert all(re.fullmatch(r"\d+", str(seed)) for seed in seeds)
        devices = [device for run in result.get("runs", ()) for device in run["per_device"]]
        assert not any(device["torch_imported"] for device in devices)


def test_the_table_of_motion_holds_the_results():
    page = (ROOT / "docs" / "experiments.md").read_text()
    runs = json.loads((ROOT / "docs" / "results" / "motion.json").read_text())["runs"]
    assert {(run["seed"], run["rounds"]) for run in (r["settings"] for r in runs)} == {
        (seed, 15) for seed in range(3)
    }

    def mean_bytes(codec):
        return statistics.fmean(run["total_bytes"] for run in runs if run["codec"] == codec)

    for codec in {run["codec"] for run in runs}:
        cells = []
        for partition in ("own", "iid"):
            shares = [
                100 * run["accuracy"]
                for run in runs
                if (run["codec"], run["settings"]["partition"]) == (codec, partition)
            ]
            cells.append(f"{statistics.fmean(shares):.1f} ± {statistics.stdev(shares):.1f}")
        cells.append(f"{mean_bytes(codec) / 1e6:.1f} MB")
        cells.append(f"{mean_bytes('none') / mean_bytes(codec):.1f}x")
        assert f"| `{codec}` | {' | '.join(cells)} |" in page


def test_the_table_of_fronts_holds_the_results():
    page = (ROOT / "docs" / "bench.md").read_text()
    result = json.loads((ROOT / "docs" / "results" / "front-bench.json").read_text())
    fronts = {m["front"]: {} for m in result["measurements"]}
    for m in result["measurements"]:
        fronts[m["front"]][m["way"]] = m
    for front, ways in fronts.items():
        ours, less = ways["slfac"], ways["low memory"]
        steps = (ways["torch"]["step_ms"], ours["step_ms"])
        ratios = (ours["ratio"], ways["recompute"]["ratio"], less["ratio"])
        cells = [front, *(f"{ms:.1f}" for ms in steps), *(f"{ratio:.2f}" for ratio in ratios)]
        peaks = (f"{m['peak_rss_bytes'] / 1e6:.0f}" for m in (ours, less, ways["torch"]))
        start, end = " | ".join(cells), f"{ours['held_bytes'] / 1e6:.1f} | {', '.join(peaks)}"
        # Between them stands what the prototype had, of which there is no file.
        assert re.search(
            rf"^\| {re.escape(start)} \| [-.\d]+ \| {re.escape(end)} \|$", page, re.MULTILINE
        )


@pytest.mark.parametrize("case", ["text", "efficientnet"])
def test_pages_quote_what_was_fine_tuned(case):
    page = " ".join((ROOT / "docs" / "experiments.md").read_text().split())
    result = json.loads((ROOT / "docs" / "results" / f"finetune-{case}.json").read_text())
    assert len({run["seed"] for run in result["runs"]}) == 3
    for entry in result["summary"]:
        accuracy = entry["accuracy"]
        assert f"{100 * accuracy['mean']:.1f} ± {100 * accuracy['std']:.1f} %" in page

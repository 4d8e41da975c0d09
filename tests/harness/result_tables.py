"""Tables of docs/, made from result files.

``python -m harness.result_tables`` prints them.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from slfac.testbed.bench.simulate import SimulateMeasurement, row

RESULTS = Path(__file__).parents[2] / "docs" / "results"
_NO_CODEC = "none"
_PARTITIONS = ("iid", "dirichlet:beta=0.5")
Run = dict[str, Any]


def paper_table() -> str:
    """Accuracy and bytes of the paper's experiment, reduced: a row a codec."""
    runs = _runs("paper-reduced")
    lines = [
        "| Codec | IID, % | Dirichlet 0.5, % | Bytes | Smaller |",
        "|---|---|---|---|---|",
    ]
    for codec in _values(runs, "codec"):
        mine = [run for run in runs if run["codec"] == codec]
        shares = [
            _spread([100 * r["accuracy"] for r in mine if r["settings"]["partition"] == partition])
            for partition in _PARTITIONS
        ]
        total = _mean(mine, lambda run: run["total_bytes"])
        plain = _mean([r for r in runs if r["codec"] == _NO_CODEC], lambda r: r["total_bytes"])
        cells = (f"`{codec}`", *shares, f"{total / 1e6:.0f} MB", f"{plain / total:.1f}x")
        lines.append(_row(cells))
    return "\n".join(lines)


def time_table() -> str:
    """Seconds and bytes until the target of experiment ``links``: a row a codec."""
    result = json.loads((RESULTS / "time.json").read_text("utf-8"))
    runs, target = result["runs"], result["target"] / 100
    links = sorted({run["settings"]["link"][0] for run in runs}, key=_rate_and_loss)
    lines = [
        _row(("Codec", *(_link_words(link) for link in links))),
        "|---" * (len(links) + 1) + "|",
    ]
    for codec in _values(runs, "codec"):
        cells = [
            _until(
                [r for r in runs if (r["codec"], r["settings"]["link"][0]) == (codec, link)], target
            )
            for link in links
        ]
        lines.append(_row((f"`{codec}`", *cells)))
    return "\n".join(lines)


def simulate_table() -> str:
    """What a simulation costs beside a real run: a row a codec."""
    found = json.loads((RESULTS / "simulate.json").read_text("utf-8"))["measurements"]
    names = ("`real`", "`sim.`", "`gain`", "`CPU, real`", "`CPU, sim.`", "`loss`", "`up`", "`down`")
    lines = [_row(("Codec", *names)), "|---" * 9 + "|"]
    for one in found:
        codec, *cells = row(SimulateMeasurement(**one))
        lines.append(_row((f"`{codec}`", *cells)))
    return "\n".join(lines)


def _until(runs: Sequence[Run], target: float) -> str:
    ends = [next((p for p in run["by_round"] if p["accuracy"] >= target), None) for run in runs]
    reached = [end for end in ends if end is not None]
    if len(reached) < len(runs):
        return f"{len(reached)} of {len(runs)} runs"
    seconds = statistics.fmean(end["seconds"] for end in reached)
    total = statistics.fmean(end["bytes_up"] + end["bytes_down"] for end in reached)
    one = " (one seed)" if len(runs) == 1 else ""
    return f"{seconds:.0f} s, {total / 1e6:.{'0' if total >= 1e8 else '1'}f} MB{one}"


def _rate_and_loss(link: str) -> tuple[float, bool]:
    return float(link.split("Mbit", 1)[0]), link.endswith("%")


def _link_words(link: str) -> str:
    rate, loss = _rate_and_loss(link)
    return f"{rate:g} Mbit/s{', 1 % lost' if loss else ''}"


def _runs(name: str) -> list[Run]:
    runs: list[Run] = json.loads((RESULTS / f"{name}.json").read_text("utf-8"))["runs"]
    return runs


def _values(runs: Sequence[Run], name: str) -> list[Any]:
    return list(dict.fromkeys(run[name] for run in runs))


def _mean(runs: Sequence[Run], value: Callable[[Run], float]) -> float:
    return statistics.fmean(value(run) for run in runs)


def _spread(values: Sequence[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{statistics.fmean(values):.2f} ± {statistics.stdev(values):.2f}"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    for table in (paper_table, time_table, simulate_table):
        sys.stdout.write(f"{table()}\n\n")

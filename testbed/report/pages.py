"""The HTML pages: one of a run, one of several runs compared."""

from __future__ import annotations

from collections.abc import Sequence

from slfac.testbed.report import page
from slfac.testbed.report.figures import comparison_panels, run_panels
from slfac.testbed.report.model import RunReport
from slfac.testbed.report.rows import (
    BYTES_NOTE,
    CLASSES_NOTE,
    class_table,
    device_table,
    phase_table,
    run_table,
)
from slfac.testbed.report.theme import DARK, LIGHT
from slfac.testbed.report.units import human_bytes, human_ratio, human_seconds, percent

_RUN_FIGURES = (
    "Test accuracy after each round",
    "Training loss of each round",
    "Bytes sent after each round, and as float32",
    "Time of a training step by phase and device",
)
_COMPARISON_FIGURES = ("Test accuracy against bytes sent", "Test accuracy after each round")


def run_page(run: RunReport) -> str:
    """The page of one run.

    Args:
        run: The run, with its ``by_round``.

    Returns:
        Self-contained HTML.
    """
    total = run.bytes_up + run.bytes_down
    float32_total = run.float32_bytes_up + run.float32_bytes_down
    images = zip(_RUN_FIGURES, run_panels(run, LIGHT), run_panels(run, DARK), strict=True)
    return page.page(
        f"{run.model} on {run.dataset}",
        f"Cut at {run.cut}, {run.devices} devices, codec {run.codec}, {run.date}",
        [
            page.tiles(
                [
                    (percent(run.accuracy), "test accuracy"),
                    *_balanced(run),
                    (human_bytes(run.bytes_up), "sent up"),
                    (human_bytes(run.bytes_down), "sent down"),
                    (human_ratio(total, float32_total), "smaller than float32"),
                    (human_seconds(run.seconds), f"for {run.rounds} rounds"),
                ]
            ),
            page.heading("Curves"),
            page.figures(list(images)),
            *_classes(run),
            page.heading("Devices"),
            page.table(*device_table(run.per_device)),
            page.note(BYTES_NOTE),
            page.heading("Seconds in each phase, over the whole run"),
            page.table(*phase_table(run.per_device)),
            page.heading("Run"),
            page.facts(_run_facts(run)),
        ],
    )


def comparison_page(runs: Sequence[RunReport]) -> str:
    """The page of several runs.

    Args:
        runs: The runs, each with its ``by_round``.

    Returns:
        Self-contained HTML.
    """
    first = runs[0]
    panels = (comparison_panels(runs, theme) for theme in (LIGHT, DARK))
    images = zip(_COMPARISON_FIGURES, *panels, strict=True)
    return page.page(
        f"{len(runs)} runs compared",
        f"{first.model} cut at {first.cut}, {first.dataset}, {first.devices} devices, {first.date}",
        [
            page.table(*run_table(runs)),
            page.note(BYTES_NOTE),
            page.heading("Curves"),
            page.figures(list(images)),
        ],
    )


def _balanced(run: RunReport) -> list[tuple[str, str]]:
    if run.balanced_accuracy is None:
        return []
    return [(percent(run.balanced_accuracy), "balanced accuracy")]


def _classes(run: RunReport) -> list[str]:
    columns, rows = class_table(run)
    if not rows:
        return []
    return [
        page.heading("Classes of the test set, after the last round"),
        page.table(columns, rows),
        page.note(CLASSES_NOTE),
    ]


def _run_facts(run: RunReport) -> list[tuple[str, str]]:
    return [
        ("Samples", f"{run.train_samples} to train, {run.test_samples} to test"),
        *([("Test loss", f"{run.test_loss:.4f}")] if run.test_loss is not None else []),
        ("Partition", run.partition),
        ("Seed", str(run.seed)),
        ("As float32", _both_ways(run.float32_bytes_up, run.float32_bytes_down)),
        ("On the wire", _both_ways(run.wire_bytes_up, run.wire_bytes_down)),
        *run.machine.items(),
        ("Versions", ", ".join(f"{name} {version}" for name, version in run.versions.items())),
    ]


def _both_ways(up_bytes: int, down_bytes: int) -> str:
    return f"{human_bytes(up_bytes)} up, {human_bytes(down_bytes)} down"

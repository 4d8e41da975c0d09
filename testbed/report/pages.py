"""The HTML pages: one of a run, one of several runs compared."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial

from matplotlib.axes import Axes

from slfac.testbed.report import page
from slfac.testbed.report.compared import group_table, published_table, target_table
from slfac.testbed.report.details import fault_table, link_table, run_facts
from slfac.testbed.report.figures import (
    LEGEND_PANEL_HEIGHT_IN,
    PANEL_HEIGHT_IN,
    legend_grid,
    phases_height_in,
)
from slfac.testbed.report.groups import Group, Section, sections_of
from slfac.testbed.report.model import RunReport, labels_of
from slfac.testbed.report.panels import (
    AXES,
    draw_accuracy,
    draw_bytes,
    draw_groups,
    draw_loss,
    draw_phases,
)
from slfac.testbed.report.rows import (
    BYTES_NOTE,
    CLASSES_NOTE,
    class_table,
    device_table,
    phase_table,
    run_table,
)
from slfac.testbed.report.svg import inline_svg
from slfac.testbed.report.theme import Theme, add_legend
from slfac.testbed.report.units import human_bytes, human_ratio, human_seconds, percent

LINKS_NOTE = (
    "Bytes on TCP are computed from the sizes of messages: with the framing of ZMTP and CURVE, "
    "without the headers of TCP and IP. Mean rates are over the seconds of all rounds, in which a "
    "link also stands still; in brackets, their share of the link's rate."
)
FAULTS_NOTE = (
    "Times are from the run's start. A device that made no step for a while has paused for more "
    "than five seconds, and ten times as long as usual; why is not known."
)
TARGET_NOTE = (
    "Until the end of the first round that scored the target; the evaluation of each round is in "
    "the seconds. A dash: not every run got there."
)

PUBLISHED_NOTE = (
    "What others have published, of a setting as alike as is known, and the accuracy here after as "
    "many rounds. A dash: there were not as many rounds here."
)


def run_page(run: RunReport, problems: Sequence[str] = ()) -> str:
    """The page of one run.

    Args:
        run: The run, with its ``by_round``.
        problems: What is to be said about runs that are missing, a line each.

    Returns:
        Self-contained HTML.
    """
    total = run.bytes_up + run.bytes_down
    float32_total = run.float32_bytes_up + run.float32_bytes_down
    return page.page(
        f"{run.model} on {run.dataset}",
        f"Cut at {run.cut}, {run.devices} devices, codec {run.codec}, {run.date}",
        [
            *map(page.warning, (*problems, *run.notes)),
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
            page.drawings(_run_drawings(run)),
            *_faults(run),
            *_classes(run),
            page.heading("Devices"),
            page.table(*device_table(run.per_device)),
            page.note(BYTES_NOTE),
            *_links(run),
            page.heading("Seconds in each phase, over the whole run"),
            page.table(*phase_table(run.per_device)),
            *_added(run),
            page.heading("Run"),
            page.facts(run_facts(run)),
            *_settings(run),
        ],
    )


def comparison_page(
    runs: Sequence[RunReport],
    *,
    title: str = "",
    note: str = "",
    target: float | None = None,
    problems: Sequence[str] = (),
) -> str:
    """The page of several runs.

    Args:
        runs: The runs, each with its ``by_round``.
        title: Its heading; empty for how many runs there are.
        note: What a reader must know of the figures.
        target: Accuracy in per cent; how soon each group of runs gets there is shown.
        problems: What is to be said about runs that are missing, a line each.

    Returns:
        Self-contained HTML.
    """
    first = runs[0]
    labels = labels_of(list(runs))
    sections = sections_of(runs)
    # Once a page, and not once a section, where codecs are many and sections are few.
    parts = [part for section in sections for part in _section(section, target)]
    return page.page(
        title or f"{len(runs)} runs compared",
        f"{first.model} cut at {first.cut}, {first.dataset}, {first.devices} devices, "
        f"{len(runs)} runs, {first.date}",
        [
            *([page.warning(note)] if note else []),
            *map(page.warning, problems),
            *(
                page.warning(f"{n}: {t}")
                for n, run in zip(labels, runs, strict=True)
                for t in run.notes
            ),
            *parts,
            page.note(BYTES_NOTE),
            *([page.note(TARGET_NOTE)] if target is not None else []),
            page.heading("All runs"),
            page.table(*run_table(runs)),
            *_faults_of_all(runs, labels),
            page.heading("What made them"),
            *(_one_of_many(run, label) for run, label in zip(runs, labels, strict=True)),
        ],
    )


def _run_drawings(run: RunReport) -> list[str]:
    name = f"{run.model} on {run.dataset}, codec {run.codec}, seed {run.seed}"
    drawn = [
        ("Test accuracy after each round", draw_accuracy, LEGEND_PANEL_HEIGHT_IN),
        ("Training loss of each round", draw_loss, LEGEND_PANEL_HEIGHT_IN),
        ("Bytes sent after each round, and as float32", draw_bytes, phases_height_in(run)),
        ("Time of a training step by phase and device", draw_phases, phases_height_in(run)),
    ]
    return [
        inline_svg(partial(_draw_run, draw, run), f"{title}: {name}", height_in=height)
        for title, draw, height in drawn
    ]


def _draw_run(draw: object, run: RunReport, axes: Axes, theme: Theme) -> None:
    draw(axes, run, theme)  # type: ignore[operator]


def _section(section: Section, target: float | None) -> list[str]:
    parts = [page.heading(section.title)] if section.title else []
    parts.append(page.table(*group_table(section.groups)))
    if target is not None:
        parts.append(page.table(*target_table(section.groups, target)))
    columns, rows = published_table(section.groups)
    parts += [page.table(columns, rows), page.note(PUBLISHED_NOTE)] if rows else []
    return [*parts, page.drawings(_section_drawings(section))]


def _section_drawings(section: Section) -> list[str]:
    groups = section.groups
    columns, rows = legend_grid(groups, room=60)
    known = [
        against
        for against, (_, position) in AXES.items()
        if any(group.curve(position) for group in groups)
    ]
    return [
        inline_svg(
            partial(_draw_section, groups, against, columns),
            f"Test accuracy by {against}: {section.title or 'all runs'}",
            height_in=PANEL_HEIGHT_IN + 0.2 * rows,
        )
        for against in known or ["round"]
    ]


def _draw_section(
    groups: Sequence[Group], against: str, columns: int, axes: Axes, theme: Theme
) -> None:
    draw_groups(axes, groups, against, theme)
    add_legend(axes, theme, columns)


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


def _faults(run: RunReport) -> list[str]:
    if not run.faults:
        return [page.heading("Faults and recoveries"), page.note("Nothing went wrong.")]
    return [
        page.heading("Faults and recoveries"),
        page.table(*fault_table(run.faults)),
        page.note(FAULTS_NOTE),
    ]


def _faults_of_all(runs: Sequence[RunReport], labels: Sequence[str]) -> list[str]:
    rows = [
        [label, *cells]
        for run, label in zip(runs, labels, strict=True)
        for cells in fault_table(run.faults)[1]
    ]
    columns, _ = fault_table(())
    shown = [page.table(["run", *columns], rows), page.note(FAULTS_NOTE)] if rows else []
    return [
        page.heading("Faults and recoveries"),
        *(shown or [page.note("Nothing went wrong in any of them.")]),
    ]


def _links(run: RunReport) -> list[str]:
    columns, rows = link_table(run)
    if not rows:
        return []
    return [page.heading("Use of the links"), page.table(columns, rows), page.note(LINKS_NOTE)]


def _added(run: RunReport) -> list[str]:
    parts = []
    for one in run.tables:
        parts += [page.heading(one.title), page.table(one.columns, one.rows)]
        parts += [page.note(one.note)] if one.note else []
    return parts


def _settings(run: RunReport) -> list[str]:
    shown = [
        (name, value if isinstance(value, str) else json.dumps(value))
        for name, value in run.settings.items()
        if value not in ("", None, [], {})
    ]
    return [page.heading("What the server was told"), page.facts(shown)] if shown else []


def _one_of_many(run: RunReport, label: str) -> str:
    """What of a run's own page stands in one that compares: folded, for there may be many."""
    return page.folded(
        label,
        [
            page.table(*device_table(run.per_device)),
            *_links(run),
            page.heading("Seconds in each phase"),
            page.table(*phase_table(run.per_device)),
            *_added(run),
            page.facts(run_facts(run)),
            *_settings(run),
        ],
    )

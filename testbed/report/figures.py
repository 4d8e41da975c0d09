"""Figures of runs as images, drawn without matplotlib's global state."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes

from slfac.testbed.report.canvas import as_image, new_figure
from slfac.testbed.report.groups import Group, groups_of, published_of, sections_of
from slfac.testbed.report.model import RunReport
from slfac.testbed.report.panels import (
    draw_accuracy,
    draw_bytes,
    draw_groups,
    draw_loss,
    draw_phases,
)
from slfac.testbed.report.theme import LIGHT, Theme, add_legend, plain_label

RUN_PANELS: tuple[Callable[[Axes, RunReport, Theme], None], ...] = (
    draw_accuracy,
    draw_loss,
    draw_bytes,
    draw_phases,
)
_PANEL_WIDTH_IN = 5.0
PANEL_HEIGHT_IN = 3.7
LEGEND_PANEL_HEIGHT_IN = 4.0
_INCHES_A_DEVICE = 0.28


def run_figure(run: RunReport, theme: Theme = LIGHT) -> bytes:
    """All panels of a run in one figure.

    Args:
        run: The run, with its ``by_round``.
        theme: Its colours.

    Returns:
        A PNG image.
    """
    height = PANEL_HEIGHT_IN + phases_height_in(run)
    figure = new_figure(2 * _PANEL_WIDTH_IN, height, theme)
    grid = figure.add_gridspec(2, 2, height_ratios=(PANEL_HEIGHT_IN, phases_height_in(run)))
    for index, draw in enumerate(RUN_PANELS):
        draw(figure.add_subplot(grid[index // 2, index % 2]), run, theme)
    return as_image(figure)


def comparison_figure(runs: Sequence[RunReport], theme: Theme = LIGHT) -> bytes:
    """Accuracy of several runs against bytes and by round, side by side.

    Args:
        runs: The runs, each with its ``by_round``.
        theme: Its colours.

    Returns:
        A PNG image.
    """
    groups = groups_of(runs)
    columns, rows = legend_grid(groups, room=125)
    figure = new_figure(2 * _PANEL_WIDTH_IN, PANEL_HEIGHT_IN + 0.2 * rows, theme)
    for index, against in enumerate(("bytes", "round")):
        draw_groups(figure.add_subplot(1, 2, index + 1), groups, against, theme)
    handles, labels = figure.axes[-1].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        fontsize=9,
        labelcolor=theme.ink,
    )
    return as_image(figure)


def sections_figure(
    runs: Sequence[RunReport], against: Sequence[str], theme: Theme = LIGHT
) -> bytes:
    """Accuracy, a row of panels for each section of a comparison.

    Args:
        runs: The runs, each with its ``by_round``.
        against: What it is drawn against, some of :data:`~slfac.testbed.report.panels.AXES`.
        theme: Its colours.

    Returns:
        An SVG image that stands alone.
    """
    sections = sections_of(runs)
    rows = [legend_grid(section.groups, room=60)[1] for section in sections]
    heights = [PANEL_HEIGHT_IN + 0.3 + 0.2 * count for count in rows]
    figure = new_figure(len(against) * _PANEL_WIDTH_IN, sum(heights), theme)
    grid = figure.add_gridspec(len(sections), len(against), height_ratios=heights)
    for row, section in enumerate(sections):
        for column, what in enumerate(against):
            axes = figure.add_subplot(grid[row, column])
            draw_groups(axes, section.groups, what, theme)
            add_legend(axes, theme, legend_grid(section.groups, room=60)[0])
            if section.title:
                title = plain_label(f"{section.title}: by {what}", 60)
                axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=theme.ink)
    return as_image(figure, "svg")


def legend_grid(groups: Sequence[Group], room: int) -> tuple[int, int]:
    """How a legend is laid out.

    Args:
        groups: What it names, with what others have published beside them.
        room: Its width in characters.

    Returns:
        Columns and rows.
    """
    labels = [group.label for group in groups]
    labels += [one.label for one in published_of(groups)]
    longest = max(len(plain_label(label)) for label in labels)
    columns = max(1, min(len(labels), room // (longest + 6)))
    return columns, -(-len(labels) // columns)


def phases_height_in(run: RunReport) -> float:
    """Height of the panel of phases, by the number of devices.

    Args:
        run: The run.
    """
    return max(LEGEND_PANEL_HEIGHT_IN, 1.6 + _INCHES_A_DEVICE * len(run.per_device))

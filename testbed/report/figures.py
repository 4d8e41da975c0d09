"""Figures of runs as PNG, drawn without matplotlib's global state."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from slfac.testbed.report.model import RunReport, labels_of
from slfac.testbed.report.panels import (
    draw_accuracy,
    draw_accuracy_by_bytes,
    draw_accuracy_by_round,
    draw_bytes,
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
COMPARISON_PANELS: tuple[Callable[[Axes, Sequence[RunReport], Theme], None], ...] = (
    draw_accuracy_by_bytes,
    draw_accuracy_by_round,
)
_DPI = 150
_PANEL_WIDTH_IN = 5.0
_PANEL_HEIGHT_IN = 3.7
_LEGEND_PANEL_HEIGHT_IN = 4.0
_INCHES_A_DEVICE = 0.28


def run_figure(run: RunReport, theme: Theme = LIGHT) -> bytes:
    """All panels of a run in one figure.

    Args:
        run: The run, with its ``by_round``.
        theme: Its colours.

    Returns:
        A PNG image.
    """
    height = _PANEL_HEIGHT_IN + _phases_height(run)
    figure = _figure(2 * _PANEL_WIDTH_IN, height, theme)
    grid = figure.add_gridspec(2, 2, height_ratios=(_PANEL_HEIGHT_IN, _phases_height(run)))
    for index, draw in enumerate(RUN_PANELS):
        draw(figure.add_subplot(grid[index // 2, index % 2]), run, theme)
    return _png(figure)


def run_panels(run: RunReport, theme: Theme = LIGHT) -> list[bytes]:
    """Each panel of a run as a figure of its own, for pages that arrange them.

    Args:
        run: The run, with its ``by_round``.
        theme: Its colours.

    Returns:
        PNG images: accuracy, loss, bytes, phases.
    """
    images = []
    for draw in RUN_PANELS:
        figure = _figure(_PANEL_WIDTH_IN, _panel_height(draw, run), theme)
        draw(figure.add_subplot(), run, theme)
        images.append(_png(figure))
    return images


def comparison_figure(runs: Sequence[RunReport], theme: Theme = LIGHT) -> bytes:
    """Accuracy of several runs against bytes and by round, side by side.

    Args:
        runs: The runs, each with its ``by_round``.
        theme: Its colours.

    Returns:
        A PNG image.
    """
    columns, rows = _legend_grid(runs, room=125)
    figure = _figure(2 * _PANEL_WIDTH_IN, _PANEL_HEIGHT_IN + 0.2 * rows, theme)
    for index, draw in enumerate(COMPARISON_PANELS):
        draw(figure.add_subplot(1, 2, index + 1), runs, theme)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        fontsize=9,
        labelcolor=theme.ink,
    )
    return _png(figure)


def comparison_panels(runs: Sequence[RunReport], theme: Theme = LIGHT) -> list[bytes]:
    """Each panel of a comparison as a figure of its own.

    Args:
        runs: The runs, each with its ``by_round``.
        theme: Its colours.

    Returns:
        PNG images: accuracy by bytes, accuracy by round.
    """
    columns, rows = _legend_grid(runs, room=60)
    images = []
    for draw in COMPARISON_PANELS:
        figure = _figure(_PANEL_WIDTH_IN, _PANEL_HEIGHT_IN + 0.2 * rows, theme)
        axes = figure.add_subplot()
        draw(axes, runs, theme)
        add_legend(axes, theme, columns)
        images.append(_png(figure))
    return images


def _legend_grid(runs: Sequence[RunReport], room: int) -> tuple[int, int]:
    """Columns and rows of a legend that is ``room`` characters wide."""
    longest = max(len(plain_label(label)) for label in labels_of(list(runs)))
    columns = max(1, min(len(runs), room // (longest + 6)))
    return columns, -(-len(runs) // columns)


def _panel_height(draw: object, run: RunReport) -> float:
    if draw is draw_phases:
        return _phases_height(run)
    return _LEGEND_PANEL_HEIGHT_IN if draw is draw_bytes else _PANEL_HEIGHT_IN


def _phases_height(run: RunReport) -> float:
    return max(_LEGEND_PANEL_HEIGHT_IN, 1.6 + _INCHES_A_DEVICE * len(run.per_device))


def _figure(width_in: float, height_in: float, theme: Theme) -> Figure:
    layout = ConstrainedLayoutEngine(w_pad=0.09, h_pad=0.09, wspace=0.04, hspace=0.04)
    figure = Figure((width_in, height_in), _DPI, facecolor=theme.page, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor=figure.get_facecolor())
    return buffer.getvalue()

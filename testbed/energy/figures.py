"""The panels of a report as PNG: one figure with the most of them, or each by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from matplotlib.axes import Axes

from slfac.device.profiling.record import Record
from slfac.testbed.energy.bars import Bar, bars_height_in, draw_bars, joule_bars, time_bars
from slfac.testbed.energy.traces import draw_power, draw_zoom, zooms
from slfac.testbed.report.canvas import as_image, new_figure
from slfac.testbed.report.theme import LIGHT, Theme, plain_label

_WIDTH_IN = 9.0
_HSPACE = 0.06
_TRACE_IN = 3.3
# More bars in one panel than a page has room for are in the tables only.
_MOST_BARS = 60


@dataclass(frozen=True)
class Panel:
    """A panel of a report.

    Attributes:
        name: What it shows, for those who cannot see it.
        height_in: How high it should be.
        draw: Draws it.
        in_overview: Whether it belongs into the one figure.
    """

    name: str
    height_in: float
    draw: Callable[[Axes, Theme], None]
    in_overview: bool = True


def panels(record: Record) -> list[Panel]:
    """What there is to show.

    Args:
        record: The measurement.
    """
    found = []
    if record.readings.t_s:
        found.append(Panel("Power over time", _TRACE_IN, lambda a, t: draw_power(a, record, t)))
    for number, section in enumerate(zooms(record)):
        name = f"Power and phases of some steps, {record.fronts[section.front or 0].name}"
        draw = partial(_zoom, record, number)
        found.append(Panel(name, _TRACE_IN, draw, in_overview=number == 0))
    for kind, noun in (("front", "a step of each front"), ("codec", "each codec")):
        bars = time_bars(record, kind)[:_MOST_BARS]
        if bars:
            title, unit = (
                f"Time of {noun}, by phase",
                "milliseconds a batch, mean and 95 % interval",
            )
            draw_times = partial(_bars, bars, title, unit)
            found.append(Panel(title, bars_height_in(bars), draw_times))
    for kind, noun in (("front", "a step of each front"), ("codec", "each codec")):
        bars = joule_bars(record, kind)[:_MOST_BARS]
        if bars:
            title = f"Energy of {noun}, by phase, idle power included"
            unit = "millijoules a batch, mean and 95 % interval"
            draw_joules = partial(_bars, bars, title, unit)
            found.append(Panel(title, bars_height_in(bars), draw_joules))
    return found


def overview(record: Record, theme: Theme = LIGHT) -> bytes:
    """One figure with a panel of each kind.

    Args:
        record: The measurement.
        theme: Its colours.

    Returns:
        A PNG image.
    """
    shown = [panel for panel in panels(record) if panel.in_overview]
    heights = [panel.height_in for panel in shown] or [1.0]
    figure = new_figure(_WIDTH_IN, sum(heights) + 0.5, theme, hspace=_HSPACE)
    grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)
    for row, panel in enumerate(shown):
        panel.draw(figure.add_subplot(grid[row, 0]), theme)
    without = "" if record.sensor else "; no sensor: times only"
    title = plain_label(f"{record.board.title}, {record.date[:10]}{without}", 100)
    figure.suptitle(title, color=theme.ink, fontsize=12, fontweight="bold")
    return as_image(figure)


def panel_image(panel: Panel, theme: Theme) -> bytes:
    """A panel as a figure of its own.

    Args:
        panel: The panel.
        theme: Its colours.

    Returns:
        A PNG image.
    """
    figure = new_figure(_WIDTH_IN, panel.height_in, theme, hspace=_HSPACE)
    panel.draw(figure.add_subplot(), theme)
    return as_image(figure)


def _zoom(record: Record, number: int, axes: Axes, theme: Theme) -> None:
    draw_zoom(axes, record, zooms(record)[number], theme)


def _bars(bars: list[Bar], title: str, unit: str, axes: Axes, theme: Theme) -> None:
    draw_bars(axes, bars, theme, title, unit)

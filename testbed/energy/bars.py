"""Bars with 95 % intervals: how long phases take, and what they draw."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from slfac.device.energy.phases import OTHER
from slfac.device.profiling.figures import counted, digits, of_kind, phase_ms
from slfac.device.profiling.record import PhaseJoules, Record, Section
from slfac.device.profiling.spread import Figure
from slfac.testbed.report.panels import PHASE_COLOURS
from slfac.testbed.report.theme import Theme, dress, plain_label

# Room for the figure that stands behind a bar, as a share of the longest.
_ROOM = 0.45
_MOST_LABEL = 34


@dataclass(frozen=True)
class Bar:
    """One bar.

    Attributes:
        group: The front or codec; bars of one group stand together.
        phase: Which phase.
        figure: How much; None where it is unknown.
        why: Why it is unknown.
    """

    group: str
    phase: str
    figure: Figure | None
    why: str = ""


def time_bars(record: Record, kind: str) -> list[Bar]:
    """Milliseconds of each phase.

    Args:
        record: The measurement.
        kind: ``front`` or ``codec``.
    """
    return [
        Bar(group, phase, phase_ms(section, phase), "every repetition was throttled")
        for group, section in _groups(record, kind)
        for phase in dict.fromkeys(p for one in section.repetitions for p in one.seconds)
    ]


def joule_bars(record: Record, kind: str) -> list[Bar]:
    """Millijoules of each phase in a step, and of the whole step.

    Args:
        record: The measurement.
        kind: ``front`` or ``codec``.
    """
    bars = []
    for group, section in _groups(record, kind):
        steps = [section.step] if section.step is not None and kind == "front" else []
        # What is not stamped is Python between two phases: it is in the step.
        phases = [one for one in section.energy if one.phase != OTHER]
        bars += [_joule_bar(group, section, one) for one in (*phases, *steps)]
    return bars


def _joule_bar(group: str, section: Section, one: PhaseJoules) -> Bar:
    joules = one.joules_per_step
    figure = None
    if joules is not None:
        sides = (1e3 * joules.value, 1e3 * joules.low, 1e3 * joules.high)
        figure = Figure(*sides, len(counted(section)))
    return Bar(group, one.phase, figure, f"not resolved: {one.unresolved}")


def _groups(record: Record, kind: str) -> Iterator[tuple[str, Section]]:
    for section in of_kind(record, kind):
        front = record.fronts[section.front or 0]
        alone = kind == "front" or len(record.fronts) == 1
        name = section.codec if kind == "codec" else front.name
        yield (name if alone else f"{name} | {front.name}"), section


def bars_height_in(bars: Sequence[Bar]) -> float:
    """How high a panel of bars should be.

    Args:
        bars: The bars.
    """
    groups = len(dict.fromkeys(bar.group for bar in bars))
    return 0.95 + 0.21 * len(bars) + 0.26 * groups


def draw_bars(axes: Axes, bars: Sequence[Bar], theme: Theme, title: str, unit: str) -> None:
    """Draw bars below one another, each with its figure behind it.

    Args:
        axes: Where to draw.
        bars: The bars.
        theme: Its colours.
        title: What the panel shows.
        unit: Of the figures.
    """
    dress(axes, theme, title)
    longest = max((_end(bar.figure) for bar in bars if bar.figure), default=1.0) or 1.0
    row, ticks, labels, group = 0.0, [], [], None
    for bar in bars:
        if bar.group != group:
            row += 0.55 if group is not None else 0.0
            group = bar.group
            text = plain_label(group, _MOST_LABEL)
            axes.text(0.0, row, f" {text}", va="center", fontsize=9, color=theme.ink, weight="bold")
            row += 0.9
        ticks.append(row)
        labels.append(bar.phase)
        _draw(axes, bar, row, theme, longest)
        row += 1.0
    axes.set_yticks(ticks, labels)
    axes.set_ylim(row - 0.3, -0.7)
    axes.set_xlim(0, longest * (1 + _ROOM))
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(unit)


def _draw(axes: Axes, bar: Bar, row: float, theme: Theme, longest: float) -> None:
    figure = bar.figure
    if figure is None:
        text = plain_label(bar.why, 60)
        axes.text(0.0, row, f" {text}", va="center", fontsize=8, color=theme.ink, style="italic")
        return
    # A step is all of its phases, and has the colour of none.
    colour = theme.colour(PHASE_COLOURS[bar.phase]) if bar.phase in PHASE_COLOURS else theme.ink
    axes.barh(row, figure.value, 0.72, color=colour, alpha=0.85)
    said = digits(figure.value, 3)
    if figure.low is not None and figure.high is not None:
        low, high = max(figure.low, 0.0), figure.high
        sides = np.array([[figure.value - low], [high - figure.value]])
        axes.errorbar(
            figure.value, row, xerr=sides, color=theme.ink, capsize=2.5, elinewidth=1.1, fmt="none"
        )
        said += f"  [{digits(figure.low, 3)}, {digits(figure.high, 3)}]"
    axes.text(_end(figure) + 0.015 * longest, row, said, va="center", fontsize=8, color=theme.ink)


def _end(figure: Figure) -> float:
    return figure.value if figure.high is None else figure.high

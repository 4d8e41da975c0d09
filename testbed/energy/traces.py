"""Power over time: the whole measurement, and single steps with their phases."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from slfac.device.energy.phases import PHASES
from slfac.device.profiling.figures import of_kind
from slfac.device.profiling.record import Record, Section
from slfac.testbed.report.panels import PHASE_COLOURS
from slfac.testbed.report.theme import Theme, add_legend, dress, plain_label

_KINDS = {
    "idle": ("idle", 6),
    "gemm": ("matrix products", 0),
    "copy": ("memory", 7),
    "set": ("memory", 7),
    "front": ("fronts", 2),
    "codec": ("codecs", 1),
}
_BAND = 0.22
# From here on people count minutes.
_MINUTES_S = 180.0
# More points than a plot has columns only take time.
_MOST_POINTS = 4000


def draw_power(axes: Axes, record: Record, theme: Theme) -> None:
    """All readings, over what ran meanwhile.

    Args:
        axes: Where to draw.
        record: The measurement.
        theme: Its colours.
    """
    scope = f", {record.sensor.scope}" if record.sensor else ""
    dress(axes, theme, f"Power{scope}: the whole measurement")
    unit_s = 60.0 if record.seconds > _MINUTES_S else 1.0
    patches: dict[str, Patch] = {}
    for section in record.sections:
        name, colour = _KINDS[section.kind]
        shade = theme.colour(colour)
        begin, end = section.begin_s / unit_s, section.end_s / unit_s
        axes.axvspan(begin, end, color=shade, alpha=_BAND, linewidth=0)
        patches.setdefault(name, Patch(color=shade, alpha=2 * _BAND, label=name))
        for one in section.repetitions:
            if one.throttled:
                span = (one.begin_s / unit_s, one.end_s / unit_s)
                axes.axvspan(*span, 0.96, 1.0, color=theme.colour(3), linewidth=0)
                patches.setdefault("throttled", Patch(color=theme.colour(3), label="throttled"))
    t, watts = _thinned(record)
    axes.plot(t / unit_s, watts, color=theme.ink, linewidth=0.8)
    axes.set_xlim(0, max(record.seconds, t.max(initial=1.0)) / unit_s)
    _from_zero(axes, watts)
    axes.set_xlabel("minutes" if unit_s > 1 else "seconds")
    axes.set_ylabel("W")
    add_legend(axes, theme, len(patches), handles=list(patches.values()))


def zooms(record: Record) -> list[Section]:
    """Fronts of which single steps can be shown with readings, those of long steps first.

    Args:
        record: The measurement.
    """
    shown = [section for section in of_kind(record, "front") if section.spans.get("step")]
    shown = [section for section in shown if len(_within(record, section))]
    return sorted(shown, key=_step_s, reverse=True)


def draw_zoom(axes: Axes, record: Record, section: Section, theme: Theme) -> None:
    """Some steps of a front: each reading as the window that it is the mean of.

    Args:
        axes: Where to draw.
        record: The measurement.
        section: The front's.
        theme: Its colours.
    """
    front = record.fronts[section.front or 0]
    begin_s, end_s = _edges(section)
    dress(axes, theme, f"Some steps of {plain_label(front.name)}")
    patches = []
    for phase in (name for name in PHASES if name in section.spans and name in PHASE_COLOURS):
        spans = section.spans[phase]
        shade = theme.colour(PHASE_COLOURS[phase])
        for begin, end in spans:
            left, right = 1e3 * (begin - begin_s), 1e3 * (end - begin_s)
            axes.axvspan(left, right, color=shade, alpha=0.35, linewidth=0)
        patches.append(Patch(color=shade, alpha=0.5, label=phase))
    said = record.readings
    rows = _within(record, section)
    watts = np.array(said.watts)[rows]
    ends = 1e3 * (np.array(said.t_s)[rows] - begin_s)
    begins = ends - 1e3 * np.array(said.window_s)[rows]
    axes.hlines(watts, begins, ends, color=theme.ink, linewidth=1.6)
    axes.plot(ends, watts, "o", color=theme.ink, markersize=3)
    axes.set_xlim(0, 1e3 * (end_s - begin_s))
    _from_zero(axes, watts)
    axes.set_xlabel("milliseconds; a line is the time that a reading averages over")
    axes.set_ylabel("W")
    add_legend(axes, theme, max(1, len(patches)), handles=patches)


def _step_s(section: Section) -> float:
    begin_s, end_s = section.spans["step"][0]
    return end_s - begin_s


def _thinned(record: Record) -> tuple[np.ndarray, np.ndarray]:
    """Times and watts; means of neighbours where there are many."""
    t, watts = np.array(record.readings.t_s), np.array(record.readings.watts)
    group = -(-len(t) // _MOST_POINTS)
    if group > 1:
        whole = len(t) // group * group
        t, watts = (column[:whole].reshape(-1, group).mean(1) for column in (t, watts))
    return t, watts


def _within(record: Record, section: Section) -> np.ndarray:
    begin_s, end_s = _edges(section)
    t = np.array(record.readings.t_s)
    return np.flatnonzero((t >= begin_s) & (t <= end_s))


def _edges(section: Section) -> tuple[float, float]:
    """First and last instant of the steps that are shown."""
    shown = list(_all_spans(section))
    return min(begin for begin, _ in shown), max(end for _, end in shown)


def _all_spans(section: Section) -> Iterator[tuple[float, float]]:
    for spans in section.spans.values():
        yield from spans


def _from_zero(axes: Axes, watts: np.ndarray) -> None:
    """A scale that holds zero, so that a small change looks small."""
    axes.set_ylim(min(0.0, 1.1 * watts.min(initial=0.0)), 1.12 * watts.max(initial=0.0) or 1.0)

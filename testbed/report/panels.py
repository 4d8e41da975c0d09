"""The panels of a figure, each drawn into axes that it is given."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator, PercentFormatter

from slfac.testbed.report.groups import Group, published_of
from slfac.testbed.report.model import Published, RoundPoint, RunReport, phases_of
from slfac.testbed.report.theme import Theme, add_legend, dress, plain_label
from slfac.testbed.report.units import human_bytes, percent

_MARKERS = "osD^vPX"
# From where on the shortest of several curves would be a stroke on a linear axis.
_FAR_APART = 10
# Grey for waiting, in which the device does nothing.
PHASE_COLOURS = {
    "load": 7,
    "forward": 0,
    "encode": 1,
    "send": 2,
    "wait": 6,
    "decode": 4,
    "backward": 5,
    "update": 3,
}


def draw_accuracy(axes: Axes, run: RunReport, theme: Theme) -> None:
    """Test accuracy after each round, and balanced accuracy where it was scored.

    Args:
        axes: Where to draw.
        run: The run.
        theme: Its colours.
    """
    dress(axes, theme, "Test accuracy")
    rounds = [point.round for point in run.by_round]
    values = [_or_nan(point.accuracy) for point in run.by_round]
    known = [value for value in values if not math.isnan(value)]
    balanced = [p.balanced_accuracy for p in run.by_round if p.balanced_accuracy is not None]
    axes.plot(rounds, values, color=theme.colour(0), marker="o", markersize=4, label="accuracy")
    if balanced and len(balanced) == len(rounds):
        # Dashes, because the two coincide where classes are of one size.
        axes.plot(rounds, balanced, color=theme.colour(1), linestyle="--", label="balanced")
        add_legend(axes, theme, columns=2)
    # From the ten per cent below the lowest point: most of a run lies near its top.
    lowest = max(0.0, math.floor(min([*known, *balanced], default=0.0) * 10 - 0.2) / 10)
    axes.set_ylim(lowest, 1.0 + 0.1 * (1.0 - lowest))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_ylabel("correct in the test set")
    _round_axis(axes, theme, len(rounds))
    if values and not math.isnan(values[-1]):
        axes.annotate(
            percent(values[-1]),
            (rounds[-1], values[-1]),
            xytext=(0, 9),
            textcoords="offset points",
            ha="right",
            fontweight="bold",
            color=theme.colour(0),
        )


def draw_loss(axes: Axes, run: RunReport, theme: Theme) -> None:
    """Mean training loss of each round.

    Args:
        axes: Where to draw.
        run: The run.
        theme: Its colours.
    """
    dress(axes, theme, "Training loss")
    rounds = [point.round for point in run.by_round]
    losses = [_or_nan(point.loss) for point in run.by_round]
    axes.plot(rounds, losses, color=theme.colour(1), marker="o", markersize=4)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("mean loss of the round")
    _round_axis(axes, theme, len(rounds))


def draw_bytes(axes: Axes, run: RunReport, theme: Theme) -> None:
    """Bytes sent so far, each way, and what float32 would have taken.

    Args:
        axes: Where to draw.
        run: The run.
        theme: Its colours.
    """
    dress(axes, theme, "Bytes sent so far")
    rounds = [point.round for point in run.by_round]
    lone = len(rounds) == 1  # A line of one point shows only by its marker.
    # Up and down often coincide in float32: dashes that alternate keep both in sight.
    lines = (
        ("up", "bytes_up", 0, "-", "o"),
        ("down", "bytes_down", 1, "-", "s"),
        ("up as float32", "float32_bytes_up", 0, (0, (3, 3)), "x" if lone else ""),
        ("down as float32", "float32_bytes_down", 1, (3, (3, 3)), "+" if lone else ""),
    )
    for label, field, colour, style, marker in lines:
        values = [max(getattr(point, field), 1) for point in run.by_round]
        axes.plot(
            rounds,
            values,
            label=label,
            color=theme.colour(colour),
            linestyle=style,
            marker=marker,
            markersize=4,
        )
    axes.set_ylabel("sum over rounds and devices")
    _round_axis(axes, theme, len(rounds))
    if rounds:
        axes.set_yscale("log")
        byte_ticks(axes.yaxis, axes.get_ylim())
        add_legend(axes, theme, columns=2)


def draw_phases(axes: Axes, run: RunReport, theme: Theme) -> None:
    """Where the time of a device's mean step goes, one bar a device.

    Args:
        axes: Where to draw.
        run: The run.
        theme: Its colours.
    """
    dress(axes, theme, "Mean training step by phase")
    rows = np.arange(len(run.per_device))
    left = np.zeros(len(rows))
    phases = phases_of(run.per_device)
    for index, phase in enumerate(phases):
        width = np.array(
            [device.phase_ms.get(phase, 0.0) / max(device.steps, 1) for device in run.per_device]
        )
        colour = theme.colour(PHASE_COLOURS.get(phase, index))
        axes.barh(rows, width, 0.65, left, label=plain_label(phase, 20), color=colour)
        left += width
    axes.set_yticks(rows, [plain_label(device.name, 20) for device in run.per_device])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("milliseconds a step")
    axes.set_xlim(left=0)
    if phases:
        add_legend(axes, theme, columns=4)
    else:
        _say(axes, theme, "no device reported")


AXES: dict[str, tuple[str, Callable[[RoundPoint], float | None]]] = {
    "round": ("round", lambda point: point.round),
    "bytes": ("bytes sent up and down so far", lambda p: max(p.bytes_up + p.bytes_down, 1)),
    "seconds": ("seconds of training and evaluation", lambda point: point.seconds),
    "joules": ("joules of all devices so far", lambda p: _only(p.joules)),
}
"""What accuracy is drawn against: label of the axis, and where a round's end is on it."""


def draw_groups(axes: Axes, groups: Sequence[Group], against: str, theme: Theme) -> None:
    """Test accuracy of several groups of runs: means over their seeds, and spreads.

    By round, what others have published is beside them, as marks without a line.

    Args:
        axes: Where to draw.
        groups: The groups.
        against: One of :data:`AXES`.
        theme: Its colours.
    """
    label, position = AXES[against]
    dress(axes, theme, f"Test accuracy by {against}")
    curves = [group.curve(position) for group in groups]
    longest = max(map(len, curves), default=0)
    ends = [curve[-1][0] for curve in curves if curve]
    for index, (group, curve) in enumerate(zip(groups, curves, strict=True)):
        _draw_curve(axes, curve, group.label, index, theme)
    if against == "round":
        published = published_of(groups)
        ends += [one.round for one in published]
        _draw_published(axes, published, theme)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_ylabel("correct in the test set")
    if against == "round" or not longest:
        _round_axis(axes, theme, longest)
    axes.set_xlabel(label)
    if against == "bytes" and longest:
        axes.set_xscale("log")
        byte_ticks(axes.xaxis, axes.get_xlim())
    elif longest and against != "round" and max(ends) > _FAR_APART * min(ends) > 0:
        axes.set_xscale("log")
        log_ticks(axes.xaxis, axes.get_xlim(), "{:g}".format)
    elif longest:
        axes.set_xlim(left=0, right=1.03 * max(ends) or 1.0)


def _draw_curve(
    axes: Axes,
    curve: Sequence[tuple[float, float, float | None]],
    label: str,
    index: int,
    theme: Theme,
) -> None:
    where = [position for position, _, _ in curve]
    colour = theme.colour(index)
    axes.plot(
        where,
        [accuracy for _, accuracy, _ in curve],
        label=plain_label(label),
        color=colour,
        marker=_MARKERS[index % len(_MARKERS)],
        linestyle=("-", "--", ":")[index // len(theme.series) % 3],
        markersize=4.5,
    )
    if any(std for _, _, std in curve):
        low = [accuracy - (std or 0.0) for _, accuracy, std in curve]
        high = [accuracy + (std or 0.0) for _, accuracy, std in curve]
        axes.fill_between(where, low, high, color=colour, alpha=0.18, linewidth=0)


def _draw_published(axes: Axes, published: Sequence[Published], theme: Theme) -> None:
    for index, one in enumerate(published):
        axes.plot(
            [one.round],
            [one.accuracy],
            label=plain_label(one.label),
            color=theme.ink,
            marker="*xP+1234"[index % 8],
            linestyle="",
            markersize=9,
            fillstyle="none",
        )


def _only(joules: Mapping[str, float]) -> float | None:
    """Energy where one scope is known; those of several are not of the same thing."""
    return next(iter(joules.values())) if len(joules) == 1 else None


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _round_axis(axes: Axes, theme: Theme, rounds: int) -> None:
    axes.set_xlabel("round")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    if not rounds:
        _say(axes, theme, "no round finished")


def _say(axes: Axes, theme: Theme, text: str) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", color=theme.ink)


def byte_ticks(axis: Axis, limits: tuple[float, float]) -> None:
    """Label a logarithmic axis of bytes.

    Args:
        axis: The axis.
        limits: Its least and largest value.
    """
    log_ticks(axis, limits, _short_bytes)


def log_ticks(axis: Axis, limits: tuple[float, float], words: Callable[[float], str]) -> None:
    """Label a logarithmic axis by few round numbers.

    Args:
        axis: The axis.
        limits: Its least and largest value.
        words: How a number is written.
    """
    narrow = limits[1] / limits[0] < 200
    axis.set_major_locator(LogLocator(10, subs=(1.0, 2.0, 5.0) if narrow else (1.0,)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: words(value)))


def _short_bytes(value: float) -> str:
    number, unit = human_bytes(value).split(" ")
    return f"{float(number):g} {unit}"

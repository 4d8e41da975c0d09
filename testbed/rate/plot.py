"""The figure of a rate experiment: accuracy over bytes, with the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from slfac.testbed.rate.summary import CodecSummary
from slfac.testbed.report.canvas import as_image, new_figure
from slfac.testbed.report.panels import byte_ticks
from slfac.testbed.report.theme import LIGHT, Theme, dress, plain_label

_SIZE_IN = (8.6, 5.4)
_MARKERS = "osD^vPX<>*"
# Where runs diverge, a figure that shows them all shows nothing else.
_WORST_SHOWN_PP = 12.0


def rate_figure(
    summary: Sequence[CodecSummary], *, scored_on: str, kind: str = "png", theme: Theme = LIGHT
) -> bytes:
    """Draw mean accuracy over mean bytes, with standard deviations.

    Args:
        summary: The codecs.
        scored_on: What the accuracy is of, such as ``validation images``.
        kind: ``png`` or ``svg``.
        theme: Its colours.

    Returns:
        The image.
    """
    figure = new_figure(*_SIZE_IN, theme)
    axes = figure.add_subplot()
    dress(axes, theme, "Accuracy by bytes")
    _draw_front(axes, summary, theme)
    families = list(dict.fromkeys(entry.family for entry in summary))
    for index, family in enumerate(families):
        _draw_family(axes, [e for e in summary if e.family == family], index, theme)
    axes.set_xscale("log")
    axes.set_xlabel("bytes on the sockets, both directions")
    axes.set_ylabel(f"correct of the {scored_on}, %")
    low = max((100 * e.accuracy.mean for e in summary), default=100) - _WORST_SHOWN_PP
    if any(100 * e.accuracy.mean < low for e in summary):
        axes.set_ylim(bottom=low)
    axes.margins(x=0.08)
    byte_ticks(axes.xaxis, axes.get_xlim())
    figure.legend(loc="outside right upper", frameon=False, fontsize=9, labelcolor=theme.ink)
    return as_image(figure, kind)


def _draw_family(axes: Axes, entries: Sequence[CodecSummary], index: int, theme: Theme) -> None:
    entries = sorted(entries, key=lambda entry: entry.total_bytes.mean)
    axes.errorbar(
        [entry.total_bytes.mean for entry in entries],
        [100 * entry.accuracy.mean for entry in entries],
        xerr=[entry.total_bytes.std or 0.0 for entry in entries],
        yerr=[100 * (entry.accuracy.std or 0.0) for entry in entries],
        label=plain_label(entries[0].family, 24),
        color=theme.colour(index),
        marker=_MARKERS[index % len(_MARKERS)],
        markersize=5,
        linewidth=0.8,
        linestyle=("-", ":")[index // len(theme.series) % 2],
        elinewidth=0.8,
        capsize=2,
    )
    for entry in entries:
        if entry.on_front:
            axes.annotate(
                plain_label(_fields(entry), 36),
                (entry.total_bytes.mean, 100 * entry.accuracy.mean),
                xytext=(4, 5),
                textcoords="offset points",
                fontsize=7,
                color=theme.ink,
            )


def _fields(entry: CodecSummary) -> str:
    """What tells a point from others of its colour: the fields, both directions'."""
    if "@" in entry.family or ":" not in entry.codec:
        return entry.codec
    return entry.codec.replace(f"{entry.family}:", "").replace("@", " @ ")


def _draw_front(axes: Axes, summary: Sequence[CodecSummary], theme: Theme) -> None:
    front = sorted(
        (entry.total_bytes.mean, 100 * entry.accuracy.mean) for entry in summary if entry.on_front
    )
    axes.step(
        [cost for cost, _ in front],
        [worth for _, worth in front],
        where="post",
        color=theme.ink,
        alpha=0.35,
        linewidth=5,
        solid_capstyle="round",
        label="Pareto front",
        zorder=1,
    )

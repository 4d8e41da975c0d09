"""Colours and fonts of the figures, for light and for dark pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.transforms import ScaledTranslation

# Clears the tick labels and the label of the horizontal axis.
_LEGEND_BELOW_IN = 0.42


@dataclass(frozen=True)
class Theme:
    """Colours of one page background.

    Attributes:
        page: Background.
        ink: Text and axes.
        grid: Grid lines.
        series: Colours that stay apart for colour-blind readers (after Okabe and Ito).
    """

    page: str
    ink: str
    grid: str
    series: tuple[str, ...]

    def colour(self, index: int) -> str:
        """Colour of one series; they repeat after the last.

        Args:
            index: Which series, from 0.
        """
        return self.series[index % len(self.series)]


LIGHT = Theme(
    page="#ffffff",
    ink="#24292f",
    grid="#e3e6ea",
    series=("#0072b2", "#d55e00", "#009e73", "#b7549b", "#e69f00", "#56b4e9", "#6e7781", "#8c6d31"),
)
DARK = Theme(
    page="#161b22",
    ink="#d7dde4",
    grid="#30363d",
    series=("#4ea8de", "#f08a4b", "#3fc79a", "#dd8fc4", "#f2c14e", "#9bd1f2", "#a3adb8", "#c9a66b"),
)


def dress(axes: Axes, theme: Theme, title: str) -> None:
    """Give axes the look of the theme.

    Args:
        axes: What to dress.
        theme: Its colours.
        title: What the panel shows.
    """
    axes.set_facecolor(theme.page)
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=theme.ink)
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set_color(theme.ink)
        axis.label.set_fontsize(9.5)
    axes.tick_params(which="both", colors=theme.ink, labelsize=9, length=0)
    axes.grid(visible=True, color=theme.grid, linewidth=0.8)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(theme.grid)


def add_legend(
    axes: Axes, theme: Theme, columns: int, handles: Sequence[Artist] | None = None
) -> None:
    """A legend below the axes, where it covers nothing.

    Args:
        axes: Axes, with labelled artists if there are no handles.
        theme: Its colours.
        columns: Entries a row.
        handles: What it names; None for the labelled artists.
    """
    below = ScaledTranslation(0, -_LEGEND_BELOW_IN, axes.figure.dpi_scale_trans)
    axes.legend(
        **({} if handles is None else {"handles": handles}),
        loc="upper center",
        bbox_to_anchor=(0.5, 0),
        bbox_transform=axes.transAxes + below,
        ncols=columns,
        frameon=False,
        fontsize=9,
        labelcolor=theme.ink,
        columnspacing=1.4,
        handlelength=1.8,
    )


def plain_label(text: str, most: int = 40) -> str:
    """A text that matplotlib draws as it stands, shortened in its middle.

    Args:
        text: Any text; dollar signs are no formulas.
        most: Longest result, in characters.
    """
    if len(text) > most:
        half = (most - 1) // 2
        text = f"{text[:half]}\u2026{text[-half:]}"
    return text.replace("$", r"\$")

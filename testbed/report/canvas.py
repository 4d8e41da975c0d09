"""Empty figures in a theme's colours, and figures as PNG, without matplotlib's global state."""

from __future__ import annotations

import io
from typing import Final

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from slfac.testbed.report.theme import Theme

_DPI: Final = 150


def new_figure(width_in: float, height_in: float, theme: Theme, *, hspace: float = 0.04) -> Figure:
    """A figure without panels.

    Args:
        width_in: Its width in inches.
        height_in: Its height in inches.
        theme: Its colours.
        hspace: Room between rows of panels, as a share of a panel's height.
    """
    layout = ConstrainedLayoutEngine(w_pad=0.09, h_pad=0.09, wspace=0.04, hspace=hspace)
    figure = Figure((width_in, height_in), _DPI, facecolor=theme.page, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def as_png(figure: Figure) -> bytes:
    """A figure as a PNG image.

    Args:
        figure: The figure.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor=figure.get_facecolor())
    return buffer.getvalue()

"""Empty figures in a theme's colours, and figures as images, without matplotlib's global state."""

from __future__ import annotations

import io
from typing import Final

from matplotlib import rc_context
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


def as_image(figure: Figure, kind: str = "png") -> bytes:
    """A figure as an image.

    Args:
        figure: The figure.
        kind: ``png`` or ``svg``.
    """
    buffer = io.BytesIO()
    # A date and random ids would make files of equal results differ.
    metadata = {"Date": None} if kind == "svg" else None
    with rc_context({"svg.hashsalt": "slfac"}):
        figure.savefig(buffer, format=kind, facecolor=figure.get_facecolor(), metadata=metadata)
    return buffer.getvalue()

"""Figures as SVG that stands in a page: it takes the page's colours, and can be read aloud."""

from __future__ import annotations

import hashlib
import html
import io
import re
import warnings
from collections.abc import Callable

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from slfac.testbed.report.theme import LIGHT, Theme

_WIDTH_IN = 5.0
_HEAD = re.compile(r"^.*?(?=<svg)", re.DOTALL)
_METADATA = re.compile(r"<metadata>.*?</metadata>", re.DOTALL)
# Ids of groups are the same in every figure; those that something refers to hold a hash.
_GROUP_IDS = re.compile(r'<g id="[^"]*"(/?)>')
# It would hold for the whole page; style.css has the same for drawings.
_STYLE = re.compile(r"<defs>\s*<style.*?</style>\s*</defs>", re.DOTALL)
_NAMESPACES = re.compile(r'\sxmlns(:xlink)?="[^"]*"')
_SIZE = re.compile(r'\s(width|height)="[0-9.]+pt"')
_FONTS = re.compile(r"font-family: [^;\"]*|'DejaVu Sans'[^;\"]*")


def inline_svg(draw: Callable[[Axes, Theme], None], title: str, *, height_in: float = 3.7) -> str:
    """Draw a figure.

    Args:
        draw: Draws it into axes, with the colours of a theme.
        title: What it shows, for those who do not see it.
        height_in: Its height.

    Returns:
        An ``svg`` element, whose colours are those of :func:`colour_variables`.
    """
    layout = ConstrainedLayoutEngine(w_pad=0.09, h_pad=0.09)
    figure = Figure((_WIDTH_IN, height_in), facecolor="none", layout=layout)
    FigureCanvasSVG(figure)
    buffer = io.StringIO()
    key = hashlib.sha256(title.encode()).hexdigest()[:8]
    with (
        rc_context({"svg.hashsalt": key, "svg.fonttype": "none"}),
        warnings.catch_warnings(),
    ):
        # The page's fonts, and not matplotlib's, have the letters of names.
        warnings.simplefilter("ignore")
        draw(figure.add_subplot(), LIGHT)
        figure.savefig(buffer, format="svg", metadata={"Date": None}, facecolor="none")
    text = _METADATA.sub("", _HEAD.sub("", buffer.getvalue(), count=1))
    text = text.replace("xlink:href=", "href=")
    text = _FONTS.sub("font-family: inherit", _GROUP_IDS.sub(r"<g\1>", _STYLE.sub("", text)))
    for name, colour in _variables(LIGHT).items():
        text = text.replace(colour, f"var({name})")
    return _described(text, title, f"figure-{key}")


def colour_variables(theme: Theme) -> str:
    """The colours of figures as CSS declarations.

    Args:
        theme: The colours.
    """
    return " ".join(f"{name}: {colour};" for name, colour in _variables(theme).items())


def _variables(theme: Theme) -> dict[str, str]:
    names = {"--figure-page": theme.page, "--figure-ink": theme.ink, "--figure-grid": theme.grid}
    return {**names, **{f"--figure-{i}": colour for i, colour in enumerate(theme.series)}}


def _described(text: str, title: str, key: str) -> str:
    head, rest = text.split(">", 1)
    head = _NAMESPACES.sub("", _SIZE.sub("", head))
    label = html.escape(title)
    return f'{head} role="img" aria-labelledby="{key}"><title id="{key}">{label}</title>{rest}'

"""The parts of a self-contained HTML page; every value is escaped here."""

from __future__ import annotations

import base64
import html
import importlib.resources
from collections.abc import Iterable, Sequence

from slfac.testbed.report.svg import colour_variables
from slfac.testbed.report.theme import DARK, LIGHT

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p class="lead">{lead}</p>
{body}
</main>
</body>
</html>
"""


def page(title: str, lead: str, parts: Iterable[str]) -> str:
    """A whole page.

    Args:
        title: Its heading, as text.
        lead: The line below, as text.
        parts: Its parts, as HTML made by the functions of this module.
    """
    style = (importlib.resources.files("slfac.testbed.report") / "style.css").read_text("utf-8")
    for name, theme in (("LIGHT", LIGHT), ("DARK", DARK)):
        style = style.replace(f"/* FIGURES {name} */", colour_variables(theme))
    return _PAGE.format(
        title=html.escape(title), lead=html.escape(lead), style=style, body="\n".join(parts)
    )


def heading(text: str) -> str:
    """A second-level heading.

    Args:
        text: Its text.
    """
    return f"<h2>{html.escape(text)}</h2>"


def note(text: str) -> str:
    """A paragraph in small print.

    Args:
        text: Its text.
    """
    return f'<p class="note">{html.escape(text)}</p>'


def tiles(values: Sequence[tuple[str, str]]) -> str:
    """The figures that matter most, large.

    Args:
        values: Number and what it is, as text.
    """
    cells = (
        f'<div class="tile"><b>{html.escape(value)}</b><span>{html.escape(name)}</span></div>'
        for value, name in values
    )
    return f'<div class="tiles">{"".join(cells)}</div>'


def figures(images: Sequence[tuple[str, bytes, bytes]]) -> str:
    """Images side by side, one below the other on a phone.

    Args:
        images: Description, PNG for light pages and PNG for dark ones.
    """
    cells = (
        f'<figure class="figure"><picture><source media="(prefers-color-scheme: dark)" '
        f'srcset="{_embed(dark)}"><img alt="{html.escape(name)}" src="{_embed(light)}">'
        f"</picture></figure>"
        for name, light, dark in images
    )
    return f'<div class="figures">{"".join(cells)}</div>'


def drawings(images: Sequence[str]) -> str:
    """Drawings side by side, one below the other on a phone.

    Args:
        images: ``svg`` elements as :func:`slfac.testbed.report.svg.inline_svg` makes them.
    """
    cells = (f'<figure class="figure">{image}</figure>' for image in images)
    return f'<div class="figures">{"".join(cells)}</div>'


def warning(text: str) -> str:
    """A paragraph that nobody shall miss.

    Args:
        text: Its text.
    """
    return f'<p class="warning">{html.escape(text)}</p>'


def folded(summary: str, parts: Iterable[str]) -> str:
    """Parts that are shown when somebody asks for them.

    Args:
        summary: What they are of, as text.
        parts: The parts, as HTML made by the functions of this module.
    """
    body = "\n".join(parts)
    return f"<details><summary>{html.escape(summary)}</summary>{body}</details>"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table that scrolls sideways where it is too wide.

    Args:
        columns: Headings.
        rows: Cells of each row, as text.
    """
    head = "".join(f'<th scope="col">{html.escape(column)}</th>' for column in columns)
    body = "".join(_row(row) for row in rows)
    return (
        f'<div class="table"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def facts(values: Iterable[tuple[str, str]]) -> str:
    """A table of names and values.

    Args:
        values: Names and values, as text.
    """
    body = "".join(_row(pair) for pair in values)
    return f'<div class="table"><table class="facts"><tbody>{body}</tbody></table></div>'


def _row(cells: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in cells)}</tr>"


def _embed(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"

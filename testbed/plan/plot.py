"""The figure of a plan: time and energy over bytes, with intervals and the Pareto front."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from slfac.hw_profiles.estimate import Estimate, Guess
from slfac.testbed.plan.plan import Candidate, Plan
from slfac.testbed.plan.words import subject
from slfac.testbed.report.canvas import as_image, new_figure
from slfac.testbed.report.panels import byte_ticks
from slfac.testbed.report.theme import LIGHT, Theme, dress, plain_label

_WIDE_IN = (11.4, 5.2)
_NARROW_IN = (7.4, 5.2)
_MARKERS = "osD^vPX<>*"
_MOST_NAMED = 7
Pick = Callable[[Candidate], Guess]


def plan_figure(plan: Plan, *, kind: str = "png", theme: Theme = LIGHT) -> bytes:
    """Draw what a round takes: one panel of time, one of energy if any is known.

    Args:
        plan: The plan.
        kind: ``png`` or ``svg``.
        theme: Its colours.

    Returns:
        The image.
    """
    energy = any(isinstance(c.round.joules, Estimate) for c in plan.candidates)
    figure = new_figure(*(_WIDE_IN if energy else _NARROW_IN), theme)
    panels: list[tuple[str, str, Pick, float]] = [
        ("Time of a round", "seconds", lambda c: c.round.ms, 1e-3)
    ]
    if energy:
        panels.append(("Energy of a round", "joules", lambda c: c.round.joules, 1.0))
    first = None
    for number, (title, unit, pick, scale) in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), number + 1, sharex=first)
        first = first or axes
        _panel(axes, plan, pick, scale, theme, title)
        axes.set_ylabel(_unit(plan, pick, unit))
    figure.suptitle(
        plain_label(_title(plan), 120), fontsize=11.5, color=theme.ink, x=0.01, ha="left"
    )
    handles, labels = first.get_legend_handles_labels() if first else ([], [])
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=5,
        frameon=False,
        fontsize=9,
        labelcolor=theme.ink,
    )
    return as_image(figure, kind)


def _title(plan: Plan) -> str:
    return (
        f"{subject(plan)} on {plan.machine.profile.board.title}, {plan.path.name}; bars: 95 %; "
        "large: on the Pareto front"
    )


def _unit(plan: Plan, pick: Pick, unit: str) -> str:
    lacks = any(isinstance(g := pick(c), Estimate) and g.missing for c in plan.candidates)
    return f"{unit}, at least" if lacks else unit


def _panel(  # noqa: PLR0917 - what one panel shows
    axes: Axes, plan: Plan, pick: Pick, scale: float, theme: Theme, title: str
) -> None:
    dress(axes, theme, title)
    codecs = sorted({c.codec for c in plan.candidates})
    for index, codec in enumerate(codecs):
        entries = [c for c in plan.candidates if c.codec == codec]
        _draw_codec(axes, entries, pick, scale, theme, index)
    _name_front(axes, plan.candidates, pick, scale, theme)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("bytes of a round on the network, both directions")
    axes.margins(x=0.1, y=0.08)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    byte_ticks(axes.xaxis, axes.get_xlim())


def _draw_codec(  # noqa: PLR0917 - what one series is
    axes: Axes, entries: Sequence[Candidate], pick: Pick, scale: float, theme: Theme, index: int
) -> None:
    points = [(c, g) for c in entries if isinstance(g := pick(c), Estimate)]
    labelled = False
    for on_front in (False, True):
        shown = [(c, g) for c, g in points if c.on_front == on_front]
        if not shown:
            continue
        axes.errorbar(
            [c.round.bytes.value for c, _ in shown],
            [scale * g.value for _, g in shown],
            xerr=_errors([(c.round.bytes, 1.0) for c, _ in shown]),
            yerr=_errors([(g, scale) for _, g in shown]),
            label=None if labelled else plain_label(entries[0].codec, 36),
            color=theme.colour(index),
            alpha=1.0 if on_front else 0.35,
            marker=_MARKERS[index % len(_MARKERS)],
            markersize=6.5 if on_front else 4.5,
            linestyle="none",
            elinewidth=1.1 if on_front else 0.7,
            capsize=2.5 if on_front else 0,
            zorder=3 if on_front else 2,
        )
        labelled = True


def _errors(pairs: Sequence[tuple[Estimate, float]]) -> list[list[float]]:
    # On a logarithmic axis an interval cannot begin at nothing.
    below = [scale * (g.value - max(g.low, 1e-3 * g.value)) for g, scale in pairs]
    return [below, [scale * (g.high - g.value) for g, scale in pairs]]


def _name_front(
    axes: Axes, candidates: Sequence[Candidate], pick: Pick, scale: float, theme: Theme
) -> None:
    front = [(c, g) for c in candidates if c.on_front and isinstance(g := pick(c), Estimate)]
    front.sort(key=lambda pair: pair[0].round.bytes.value)
    every = max(1, -(-len(front) // _MOST_NAMED))
    for number, (candidate, guess) in enumerate(front):
        if number % every and number != len(front) - 1:
            continue
        axes.annotate(
            plain_label(candidate.cut, 24),
            (candidate.round.bytes.value, scale * guess.value),
            xytext=(7, 5) if number % 2 else (-6, -11),
            ha="left" if number % 2 else "right",
            textcoords="offset points",
            fontsize=7.5,
            color=theme.ink,
            zorder=4,
        )

"""Runs that differ by their seeds alone, as one: means and spreads."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from slfac.testbed.report.model import Published, RoundPoint, RunReport, varied


@dataclass(frozen=True)
class Group:
    """Runs of the same settings.

    Attributes:
        label: What tells it from other groups of its section.
        runs: Its runs, one a seed.
    """

    label: str
    runs: tuple[RunReport, ...]

    def over(self, value: Callable[[RunReport], float | None]) -> tuple[float, float | None] | None:
        """Mean and sample standard deviation of a figure.

        Args:
            value: The figure of a run; None where it has none.

        Returns:
            Both, the second None for a single run; None unless every run has the figure.
        """
        return _spread([value(run) for run in self.runs])

    def curve(
        self, position: Callable[[RoundPoint], float | None]
    ) -> list[tuple[float, float, float | None]]:
        """Mean accuracy over the runs, round by round.

        Args:
            position: Where a round's end is on the horizontal axis; None if not known.

        Returns:
            Position, accuracy and its standard deviation, as far as all runs have them.
        """
        found = []
        for points in zip(*(run.by_round for run in self.runs), strict=False):
            where = _spread([position(point) for point in points])
            height = _spread([point.accuracy for point in points])
            if where is not None and height is not None:
                found.append((where[0], *height))
        return found


@dataclass(frozen=True)
class Section:
    """Groups that are set beside one another, as they differ by what is compared alone.

    Attributes:
        title: What they share and others do not; empty where there is one section.
        groups: The groups.
    """

    title: str
    groups: tuple[Group, ...]


def sections_of(runs: Sequence[RunReport]) -> list[Section]:
    """Sort runs into sections, and into groups within them.

    Codecs are compared within a section. Where only one other thing varies, that is compared.

    Args:
        runs: The runs.

    Returns:
        The sections, in the order of the runs.
    """
    traits = varied(runs)
    names = list(traits[0]) if traits else []
    compared = [name for name in names if name == "codec"] or names[:1]
    found: dict[str, dict[str, list[RunReport]]] = {}
    for run, one in zip(runs, traits, strict=True):
        title = ", ".join(
            _named(name, value) for name, value in one.items() if name not in compared
        )
        label = ", ".join(one[name] for name in compared) or run.codec
        found.setdefault(title, {}).setdefault(label, []).append(run)
    return [
        Section(title, tuple(Group(label, tuple(same)) for label, same in groups.items()))
        for title, groups in found.items()
    ]


def groups_of(runs: Sequence[RunReport]) -> list[Group]:
    """All groups of some runs, each labelled so that it stands alone.

    Args:
        runs: The runs.
    """
    return [
        Group(", ".join(part for part in (group.label, section.title) if part), group.runs)
        for section in sections_of(runs)
        for group in section.groups
    ]


def published_of(groups: Sequence[Group]) -> list[Published]:
    """Figures of others that are shown beside some groups, each once.

    Args:
        groups: The groups.
    """
    shown = (one for group in groups for run in group.runs for one in run.published)
    return list({(one.label, one.round, one.accuracy): one for one in shown}.values())


def _named(name: str, value: str) -> str:
    """A value with its name, where it does not speak for itself."""
    speaks = name in ("dataset", "model", "mode")
    words = {"links": "link", "carried_out_by": "by"}
    return value if speaks else f"{words.get(name, name.replace('_', ' '))} {value or 'unknown'}"


def _spread(values: Sequence[float | None]) -> tuple[float, float | None] | None:
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None
    return statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else None

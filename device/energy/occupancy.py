"""How much of a sensor's window each phase fills, and how power may go up and down within it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from slfac.device.energy.phases import IDLE, OTHER, Timeline, inside, no_spans, touched, union

# Unstamped time below this share of all time is not worth a column of its own.
_OTHER_SHARE = 0.005


class Profile:
    """A phase's power within each of its instances, as Legendre polynomials of the time in it.

    Polynomial 0 is the mean; the others are zero on average over an instance, so that they hold
    ramps and settling without changing what the phase's energy is.

    Args:
        spans: The instances, sorted and disjoint, ``(N, 2)``.
        degree: The highest polynomial.
    """

    def __init__(self, spans: np.ndarray, degree: int) -> None:
        self.degree = degree
        self._starts = spans[:, 0]
        self._lengths = spans[:, 1] - spans[:, 0]
        self._before = np.concatenate([[0.0], np.cumsum(self._lengths)])

    def lasted(self, t: np.ndarray) -> np.ndarray:
        """How long the phase ran until each instant, in seconds.

        Args:
            t: Instants, ``(N,)``.
        """
        row = np.maximum(np.searchsorted(self._starts, t, side="right") - 1, 0)
        length = self._lengths[row]
        return np.asarray(self._before[row] + np.clip(t - self._starts[row], 0.0, length))

    def at(self, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Polynomials and their integrals.

        Args:
            t: Instants, ``(N,)``.

        Returns:
            The integral of each polynomial from the beginning of all to each instant, in
            seconds, and its value there, both ``(N, degree + 1)``.
        """
        row = np.maximum(np.searchsorted(self._starts, t, side="right") - 1, 0)
        length = self._lengths[row]
        part = (t - self._starts[row]) / length
        running = (part >= 0) & (part < 1)
        part = np.clip(part, 0.0, 1.0)
        x = 2 * part - 1
        legendre = [np.ones_like(x), x]
        for m in range(1, self.degree + 1):
            legendre.append(((2 * m + 1) * x * legendre[m] - m * legendre[m - 1]) / (m + 1))
        integrals = [self._before[row] + part * length]
        # By one of Bonnet's identities; zero at both ends of an instance.
        integrals += [
            length * (legendre[m + 1] - legendre[m - 1]) / (4 * m + 2)
            for m in range(1, self.degree + 1)
        ]
        values = [running * legendre[m] for m in range(self.degree + 1)]
        return np.stack(integrals, axis=1), np.stack(values, axis=1)


@dataclass(frozen=True)
class Segments:
    """Time cut wherever a phase begins or ends.

    Attributes:
        middle_s: Middle of each piece, ``(N,) float64``.
        length_s: Its length.
        running: By phase, whether it runs, ``(N,) bool``.
        together: How many phases run at once.
    """

    middle_s: np.ndarray
    length_s: np.ndarray
    running: Mapping[str, np.ndarray]
    together: np.ndarray

    def seconds(self, name: str, within: np.ndarray) -> float:
        """How long a phase runs.

        Args:
            name: The phase.
            within: Which pieces count, ``(N,) bool``.
        """
        return float(np.sum(self.length_s[self.running[name] & within]))


def phase_spans(timeline: Timeline, without: np.ndarray) -> dict[str, np.ndarray]:
    """What runs when: every phase but idle, and other.

    Args:
        timeline: The stamps.
        without: Marks, sorted and disjoint; instances that touch any of them are left out.

    Returns:
        Spans by name; names without spans are left out, as is other where it hardly occurs.
    """
    found = {name: spans for name, spans in timeline.spans.items() if name != IDLE and len(spans)}
    other = _unstamped(timeline)
    lasting = float(np.sum(other[:, 1] - other[:, 0]))
    if lasting > _OTHER_SHARE * (timeline.end_s - timeline.begin_s):
        found[OTHER] = other
    kept = {name: spans[~touched(spans, without)] for name, spans in found.items()}
    return {name: spans for name, spans in kept.items() if len(spans)}


def segments(spans: Mapping[str, np.ndarray], edges: Sequence[np.ndarray]) -> Segments:
    """Cut time wherever something begins or ends.

    Args:
        spans: What runs when.
        edges: Further instants to cut at.
    """
    cuts = np.unique(np.concatenate([*(own.ravel() for own in spans.values()), *edges]))
    middle = (cuts[1:] + cuts[:-1]) / 2
    running = {name: inside(middle, own) for name, own in spans.items()}
    together = np.sum(list(running.values()), axis=0, dtype=np.int64)
    return Segments(middle, np.diff(cuts), running, np.broadcast_to(together, middle.shape))


def _unstamped(timeline: Timeline) -> np.ndarray:
    """Where nothing is stamped, not even idle, between the first and the last stamp."""
    spans = [own for own in timeline.spans.values() if len(own)]
    busy = union(np.concatenate(spans)) if spans else no_spans()
    begins = np.concatenate([[timeline.begin_s], busy[:, 1]])
    ends = np.concatenate([busy[:, 0], [timeline.end_s]])
    free = ends > begins
    return np.stack([begins[free], ends[free]], axis=1)

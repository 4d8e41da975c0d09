"""The phases of a training step, and when each of them ran."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

#: Nothing to do: the device sleeps, or waits to be let in.
IDLE = "idle"
#: What a device does, in the order of a step. Phases may overlap.
PHASES = ("load", "forward", "encode", "send", "wait", "decode", "backward", "update", IDLE)
#: Time between the first and the last stamp that no phase accounts for.
OTHER = "other"


@dataclass(frozen=True)
class Timeline:
    """When phases and steps ran, in seconds of a monotonic clock.

    Attributes:
        spans: By phase, beginning and end of each time it ran, ``(N, 2) float64``, sorted and
            disjoint. Different phases may overlap.
        steps: Beginning and end of each step, ``(S, 2) float64``, sorted and disjoint.
        begin_s: The first stamp.
        end_s: The last stamp.
        dropped: Stamps that were lost, for the meter was full or an end had no beginning.
    """

    spans: Mapping[str, np.ndarray]
    steps: np.ndarray
    begin_s: float
    end_s: float
    dropped: int = 0


def no_spans() -> np.ndarray:
    """No spans at all, ``(0, 2) float64``."""
    return np.zeros((0, 2))


def union(spans: np.ndarray) -> np.ndarray:
    """Merge spans that overlap or touch.

    Args:
        spans: Beginnings and ends, ``(N, 2)``, in any order.

    Returns:
        The same instants as spans that are sorted and disjoint.
    """
    if not len(spans):
        return no_spans()
    ordered = spans[np.argsort(spans[:, 0], kind="stable")]
    reached = np.maximum.accumulate(ordered[:, 1])
    first = np.concatenate([[True], ordered[1:, 0] > reached[:-1]])
    last = np.concatenate([first[1:], [True]])
    return np.stack([ordered[first, 0], reached[last]], axis=1)


def inside(t: np.ndarray, spans: np.ndarray) -> np.ndarray:
    """Whether each instant lies in any of some sorted, disjoint spans.

    Args:
        t: Instants, ``(N,)``.
        spans: ``(M, 2)``.
    """
    if not len(spans):
        return np.zeros(len(t), dtype=bool)
    row = np.searchsorted(spans[:, 0], t, side="right") - 1
    return np.asarray((row >= 0) & (t < spans[np.maximum(row, 0), 1]))


def touched(spans: np.ndarray, marks: np.ndarray) -> np.ndarray:
    """Whether each span has an instant in common with any mark.

    Args:
        spans: ``(N, 2)``.
        marks: Sorted and disjoint, ``(M, 2)``.
    """
    if not len(marks):
        return np.zeros(len(spans), dtype=bool)
    # The last mark that begins before the span ends is the one that reaches furthest.
    row = np.searchsorted(marks[:, 0], spans[:, 1], side="left") - 1
    return np.asarray((row >= 0) & (marks[np.maximum(row, 0), 1] > spans[:, 0]))

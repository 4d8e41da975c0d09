"""Which round was the best so far, and whether it is worth going on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from slfac.codec.spec import Fields, parse_spec
from slfac.data import has_classes
from slfac.wire.errors import SettingsError
from slfac.wire.manifest import Manifest

if TYPE_CHECKING:
    from slfac.server.evaluate import Score

Measure = Literal["balanced_accuracy", "accuracy", "loss"]
BestBy = Literal["auto", "balanced_accuracy", "accuracy", "loss"]


@dataclass(frozen=True)
class EarlyStop:
    """When to end a run before its last round.

    Attributes:
        patience: After so many rounds in a row without a gain.
        min_delta: What a gain must exceed, in the measure's own units.
    """

    patience: int
    min_delta: float


def parse_early_stop(text: str) -> EarlyStop:
    """Read a setting such as ``patience=3,min_delta=0.001``.

    Args:
        text: ``patience`` (3), ``min_delta`` (0), or both.

    Returns:
        What it says.

    Raises:
        SettingsError: It does not parse, or a field is unknown or out of range.
    """
    fields = Fields(*parse_spec(f"early-stop:{text}"))
    found = EarlyStop(
        patience=fields.integer("patience", 3, low=1, high=10**6),
        min_delta=fields.number("min_delta", 0.0, low=0, high=1e6),
    )
    fields.finish()
    return found


@dataclass(frozen=True)
class Best:
    """The best round of a run so far.

    Attributes:
        round: Which, from 0.
        measure: What it is the best by.
        value: Its value on the test split.
    """

    round: int
    measure: Measure
    value: float


class Watch:
    """Looks at every round's score.

    Of rounds with equal scores, the first is the best. A score that is missing or not finite
    is no gain.

    Args:
        measure: What to go by; a smaller loss is better, and a larger accuracy.
        early_stop: When to end the run; None for at its last round.

    Attributes:
        best: The best round; None before the first score.
    """

    def __init__(self, measure: Measure, early_stop: EarlyStop | None) -> None:
        self.best: Best | None = None
        self._measure = measure
        self._early_stop = early_stop
        # What a gain is measured from: it moves only by gains that count.
        self._mark = -math.inf
        self._rounds_without_gain = 0

    def look(self, round_: int, score: Score | None) -> bool:
        """Take in a round's score.

        Args:
            round_: Which round, from 0.
            score: Its score; None where it could not be evaluated.

        Returns:
            Whether the round is the best so far.
        """
        value = getattr(score, self._measure) if score is not None else None
        self._rounds_without_gain += 1
        if value is None or not math.isfinite(value):
            return False
        if self._height(value) > self._mark + (self._early_stop or _ANY_GAIN).min_delta:
            self._mark = self._height(value)
            self._rounds_without_gain = 0
        is_best = self.best is None or self._height(value) > self._height(self.best.value)
        if is_best:
            self.best = Best(round_, self._measure, value)
        return is_best

    @property
    def stops(self) -> bool:
        """Whether the run ends now."""
        limit = self._early_stop.patience if self._early_stop is not None else math.inf
        return self._rounds_without_gain >= limit

    def state(self) -> dict[str, Any]:
        """All that it has seen; what is not there yet is None or not finite."""
        return {
            "best_round": self.best.round if self.best is not None else None,
            "measure": self._measure,
            "value": self.best.value if self.best is not None else None,
            "gain_from": self._height(self._mark),
            "rounds_without_gain": self._rounds_without_gain,
        }

    def _height(self, value: float) -> float:
        """A value of which more is better, and back."""
        return -value if self._measure == "loss" else value


_ANY_GAIN = EarlyStop(patience=1, min_delta=0.0)


def make_watch(manifest: Manifest, best_by: BestBy, early_stop: str) -> Watch:
    """A watch over a run.

    Args:
        manifest: The bundle's manifest.
        best_by: The measure; ``auto`` is balanced accuracy for a model with classes, and the
            loss for others.
        early_stop: As :func:`parse_early_stop` reads it; empty to go on to the last round.

    Returns:
        The watch.

    Raises:
        SettingsError: The measure needs classes, and the model has none, or ``early_stop`` is
            malformed.
    """
    classes = has_classes(manifest)
    measure: Measure
    if best_by == "auto":
        measure = "balanced_accuracy" if classes else "loss"
    elif best_by == "loss" or classes:
        measure = best_by
    else:
        raise SettingsError(
            f"setting best_by is {best_by!r}, but the model has no classes: its loss is "
            f"{manifest.loss}, with {manifest.num_outputs} outputs",
            "use loss, or auto",
        )
    return Watch(measure, parse_early_stop(early_stop) if early_stop else None)

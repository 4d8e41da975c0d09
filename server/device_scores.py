"""The score of a round that only devices can evaluate, since they have the labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence, Set

from slfac.server.evaluate import Score
from slfac.server.events import Arrived
from slfac.server.exchange import Answer
from slfac.server.scores import ClassScores
from slfac.wire.errors import ProtocolError


class DeviceScores:
    """Collects what the members of a round say of its averaged model.

    Args:
        answer: Makes the reply to an ``evaluate`` request in the present round; None where
            devices are not asked.

    Attributes:
        asks: Whether devices are asked.
        open: Whether they have been, and the round waits for them.
        waiting: Requests of those who have answered.
    """

    def __init__(self, answer: Callable[[Arrived, int], Answer] | None) -> None:
        self.asks = answer is not None
        self._answer = answer
        self.open = False
        self.waiting: dict[int, Arrived] = {}
        self._scores: dict[int, Score | None] = {}

    def ask(self) -> None:
        """Begin to collect."""
        self.open = True
        self.waiting.clear()
        self._scores.clear()

    def evaluate(self, arrived: Arrived, round_: int) -> Answer:
        """Answer a device that evaluates.

        Args:
            arrived: Its ``evaluate`` request.
            round_: The present round.

        Returns:
            The reply.

        Raises:
            CodecError: A payload cannot be decoded.
            ProtocolError: Nobody has asked, or the request does not fit the model.
        """
        if not self.open or self._answer is None:
            raise ProtocolError("an evaluation came that nobody asked for")
        return self._answer(arrived, round_)

    def take(self, arrived: Arrived) -> None:
        """Take in what a device says.

        Args:
            arrived: Its ``score`` request.

        Raises:
            ProtocolError: Nobody has asked, or it is no score.
        """
        if not self.open:
            raise ProtocolError("a score came that nobody asked for")
        self._scores[arrived.index] = read_score(arrived)
        self.waiting[arrived.index] = arrived

    def drop(self, index: int) -> None:
        """Drop what a device said: it is gone, or will say it again."""
        self.waiting.pop(index, None)
        self._scores.pop(index, None)

    def complete(self, members: Set[int]) -> bool:
        """Whether all members have been asked and have answered."""
        return self.open and members <= self._scores.keys()

    def close(self) -> Score | None:
        """End collecting.

        Returns:
            The score of all devices' samples; None without any.
        """
        self.open = False
        return mean_score([s for _, s in sorted(self._scores.items()) if s is not None])


def read_score(arrived: Arrived) -> Score | None:
    """What a device's evaluation came to.

    Args:
        arrived: Its ``score`` request.

    Returns:
        The score; None where it has no samples to evaluate on.

    Raises:
        ProtocolError: It is no score.
    """
    header = arrived.transfer.header
    if not header.samples:
        return None
    shares = [x for x in (header.accuracy, header.balanced_accuracy) if not math.isnan(x)]
    if math.isnan(header.loss) or len(shares) == 1 or not all(0 <= x <= 1 for x in shares):
        raise ProtocolError(
            f"a score came of loss {header.loss}, accuracy {header.accuracy} and balanced "
            f"accuracy {header.balanced_accuracy}"
        )
    accuracy, classes = None, None
    if shares:
        accuracy, balanced = shares
        classes = ClassScores(balanced_accuracy=balanced, recall=(), confusion=None)
    return Score(loss=header.loss, accuracy=accuracy, samples=header.samples, classes=classes)


def mean_score(scores: Sequence[Score]) -> Score | None:
    """The score of all devices' samples together.

    Args:
        scores: One a device, in the order of their indices.

    Returns:
        The mean, weighted by samples; that of balanced accuracies is one of the devices', not
        of all samples. None without any.
    """
    total = sum(score.samples for score in scores)
    if not total:
        return None
    shares = [score.samples / total for score in scores]
    loss = sum(share * score.loss for share, score in zip(shares, scores, strict=True))
    accuracies = [score.accuracy for score in scores if score.accuracy is not None]
    balanced = [s.balanced_accuracy for s in scores if s.balanced_accuracy is not None]
    if len(accuracies) < len(scores) or len(balanced) < len(scores):
        return Score(loss=loss, accuracy=None, samples=total, classes=None)
    return Score(
        loss=loss,
        accuracy=sum(share * value for share, value in zip(shares, accuracies, strict=True)),
        samples=total,
        classes=ClassScores(
            balanced_accuracy=sum(s * value for s, value in zip(shares, balanced, strict=True)),
            recall=(),
            confusion=None,
        ),
    )

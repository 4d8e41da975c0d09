"""A training step whose head and labels stay on the device: two requests in place of one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from slfac.codec import Codec, StreamKey, make_codec
from slfac.device.evaluation import Score
from slfac.device.front import Front
from slfac.device.head import Head
from slfac.device.link import Exchanged, Link
from slfac.device.sections import decode_tensors, encode_tensors, most_bytes
from slfac.device.stopwatch import Stopwatch
from slfac.wire.bundle import Bundle, State
from slfac.wire.errors import TrainingError
from slfac.wire.messages import Reply, Timings
from slfac.wire.transfer import Part


@dataclass(frozen=True)
class Step:
    """A step to make.

    Attributes:
        x: ``(B, ...) float32``, preprocessed.
        target: The batch's targets; they go nowhere.
        draws: The random numbers of front and head, by name.
        round: Its round.
        number: Its number.
        keys: Gives the key of a stream of codecs by its number.
        before: Timings of the step before.
    """

    x: np.ndarray
    target: np.ndarray
    draws: State
    round: int
    number: int
    keys: Callable[[int], StreamKey]
    before: Timings


class UShaped:
    """Front and head of a device, with the middle at the other end of a link.

    Streams of codecs are numbered: first the smashed tensors, then what the middle gives.
    Upwards the first carry smashed data and the others gradients; downwards it is the other
    way round.

    Args:
        link: The open link.
        bundle: A bundle with a head.
        front: The front, which also holds what the head trains.
        head: The head.
    """

    def __init__(self, link: Link, bundle: Bundle, front: Front, head: Head) -> None:
        self._link = link
        self._smashed = bundle.manifest.smashed
        self._front = front
        self._head = head
        self._given = head.spec.inputs
        self._plain = make_codec("none")

    @property
    def streams(self) -> int:
        """Streams of codecs upwards."""
        return len(self._smashed) + len(self._given)

    def step(self, step: Step, codecs: Sequence[Codec], watch: Stopwatch) -> tuple[float, State]:
        """Make a step up to its gradients.

        Args:
            step: The step.
            codecs: One for each stream.
            watch: Times the phases.

        Returns:
            The batch's mean loss, and the gradients of all the device's parameters.

        Raises:
            TrainingError: Something is no longer finite.
            LinkError: The server refused, or did not come back.
            CodecError: A reply cannot be decoded.
        """
        samples, first = len(step.x), len(self._smashed)
        with watch.phase("forward"):
            smashed = self._front.forward(step.x, step.draws)
        with watch.phase("encode"):
            parts = encode_tensors("smashed", self._smashed, smashed, codecs[:first], step.keys)
        reply = self._ask(step, parts, watch)
        with watch.phase("decode"):
            given = decode_tensors(reply.reply, "smashed", self._given, samples)
        with watch.phase("forward"):
            made = self._head.step(self._front.state(), given, step.target, step.draws)
        if not math.isfinite(made.loss):
            raise TrainingError(
                f"the loss of step {step.number} is not finite", "lower the learning rate"
            )
        with watch.phase("encode"):
            parts = encode_tensors(
                "gradient", self._given, made.crossing, codecs[first:], step.keys, first=first
            )
        reply = self._ask(step, parts, watch, loss=made.loss)
        with watch.phase("decode"):
            crossing = decode_tensors(reply.reply, "gradient", self._smashed, samples)
        with watch.phase("backward"):
            gradients = self._front.backward(crossing)
        self._front.buffers.update(made.buffers)
        return made.loss, {**gradients, **made.gradients}

    def middle(self, smashed: list[np.ndarray], round_: int, step: int) -> list[np.ndarray]:
        """Let the server evaluate the middle.

        Nothing is compressed, so that no stream of codecs moves on.

        Args:
            smashed: ``(B, ...) float32`` a smashed tensor.
            round_: The present round.
            step: The next step.

        Returns:
            What the middle gives.

        Raises:
            LinkError: The server refused, or did not come back.
            CodecError: The reply cannot be decoded.
        """
        samples, codecs = len(smashed[0]), [self._plain] * len(smashed)
        key = StreamKey(round=round_, step=step)
        parts = encode_tensors("smashed", self._smashed, smashed, codecs, lambda _: key)
        exchanged = self._link.request(
            "evaluate",
            parts,
            max_reply_bytes=most_bytes(self._given, copies=samples),
            round_=round_,
            step=step,
            samples=samples,
        )
        return decode_tensors(exchanged.reply, "smashed", self._given, samples)

    def report(self, score: Score, round_: int, step: int) -> Reply:
        """Say how good the model is on this device's test samples.

        Args:
            score: What the evaluation came to.
            round_: The present round.
            step: The next step.

        Returns:
            Header of the reply, which says how to go on.

        Raises:
            LinkError: The server refused, or did not come back.
        """
        exchanged = self._link.request(
            "score",
            max_reply_bytes=0,
            round_=round_,
            step=step,
            samples=score.samples,
            loss=score.loss,
            accuracy=score.accuracy,
            balanced_accuracy=score.balanced_accuracy,
        )
        return exchanged.reply.header

    def _ask(
        self, step: Step, parts: list[Part], watch: Stopwatch, loss: float = math.nan
    ) -> Exchanged:
        """Send the first half of a step, or the second, which has a loss."""
        second = not math.isnan(loss)
        exchanged = self._link.request(
            "head" if second else "step",
            parts,
            max_reply_bytes=most_bytes(
                self._smashed if second else self._given, copies=2 * len(step.x)
            ),
            round_=step.round,
            step=step.number,
            samples=len(step.x),
            timings=Timings() if second else step.before,
            loss=loss,
        )
        watch.add("send", exchanged.send_ms)
        watch.add("wait", exchanged.wait_ms)
        return exchanged

"""A training step whose head and labels stay on the device: two requests in place of one."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from slfac.codec import StreamKey, decode, make_codec
from slfac.device.asking import UNSCORED, Scores
from slfac.device.draws import draw
from slfac.device.engine import Arrays, Engine
from slfac.device.evaluation import Score
from slfac.device.link import Link
from slfac.device.sections import decode_tensors, encode_tensors, most_bytes
from slfac.device.steps import At
from slfac.device.stopwatch import Stopwatch
from slfac.wire.errors import BundleError, ProtocolError, TrainingError
from slfac.wire.manifest import Manifest, TensorSpec
from slfac.wire.messages import Kind, Reply, Timings, Welcome
from slfac.wire.transfer import Part, Transfer


class UShapedSteps:
    """Steps of a device that has front and head, with the middle at the other end of a link.

    Streams of codecs are numbered: first the smashed tensors, then what the middle gives.
    Upwards the first carry smashed data and the others gradients; downwards it is the other
    way round.

    Args:
        link: The open link.
        welcome: What the server said about the run.
        manifest: The bundle's manifest.
        engine: Computes them; its front also holds what its head trains.

    Attributes:
        codecs: One for each stream upwards; they may remember something from step to step.

    Raises:
        BundleError: There is no head.
        ProtocolError: The server wants steps in parts.
    """

    def __init__(self, link: Link, welcome: Welcome, manifest: Manifest, engine: Engine) -> None:
        plan, head = welcome.plan, engine.head
        if head is None:
            raise BundleError("the bundle has no head", "export it with --head-cut")
        if max(plan.micro_batches, plan.stream_blocks) > 1:
            raise ProtocolError("the server wants steps in parts, of a bundle with a head")
        self._link = link
        self._smashed = manifest.smashed
        self._random = (*manifest.random, *head.spec.random)
        self._engine = engine
        self._front = engine.front
        self._head = head
        self._given = head.spec.inputs
        self._plain = make_codec("none")
        self._seed = plan.seed
        self._index = welcome.index
        streams = len(self._smashed) + len(self._given)
        self.codecs = engine.codecs(plan.codec_up, streams)

    def step(
        self, x: np.ndarray, target: np.ndarray, *, at: At, before: Timings, watch: Stopwatch
    ) -> tuple[float, Arrays]:
        """Get the gradients of one batch; the targets go nowhere.

        Args:
            x: ``(B, ...) float32``, preprocessed.
            target: Its targets.
            at: Where the step stands.
            before: Timings of the step before, which travel with this one.
            watch: Times this one.

        Returns:
            The batch's mean loss, and the gradient of each parameter of front and head.

        Raises:
            SessionLost: The server forgot this session.
            TrainingError: Something is no longer finite.
            LinkError: The server refused, or did not come back.
        """
        first, samples = len(self._smashed), len(x)
        draws = draw(self._random, samples, self._seed, self._index, at.round, at.step)
        with watch.phase("forward"):
            smashed = self._front.forward(x, draws)
        key = StreamKey(seed=self._seed, device=self._index, round=at.round, step=at.step)
        with watch.phase("encode"):
            parts = encode_tensors("smashed", self._smashed, smashed, self.codecs[:first], key)
        reply = self._ask("step", parts, self._given, at, samples, watch, timings=before)
        with watch.phase("decode"):
            given = decode_tensors(
                reply, "smashed", self._given, samples, decode=self._engine.decode
            )
        with watch.phase("forward"):
            state = {**self._front.parameters, **self._front.buffers}
            made = self._head.step(state, given, target, draws)
        if not math.isfinite(made.loss):
            raise TrainingError(
                f"the loss of step {at.step} is not finite", "lower the learning rate"
            )
        with watch.phase("encode"):
            codecs = self.codecs[first:]
            key = replace(key, layer=first)
            parts = encode_tensors("gradient", self._given, made.crossing, codecs, key)
        scores = Scores(loss=made.loss)
        reply = self._ask("head", parts, self._smashed, at, samples, watch, scores=scores)
        with watch.phase("decode"):
            crossing = decode_tensors(
                reply, "gradient", self._smashed, samples, decode=self._engine.decode
            )
        with watch.phase("backward"):
            gradients = self._front.backward(crossing)
        self._front.buffers.update(made.buffers)
        return made.loss, {**gradients, **made.gradients}

    def middle(self, smashed: list[np.ndarray], at: At, watch: Stopwatch) -> list[np.ndarray]:
        """Let the server evaluate the middle.

        Nothing is compressed, so that no stream of codecs moves on.

        Args:
            smashed: ``(B, ...) float32`` a smashed tensor.
            at: The present round, and the next step.
            watch: Times it.

        Returns:
            What the middle gives.

        Raises:
            LinkError: The server refused, or did not come back.
            CodecError: The reply cannot be decoded.
        """
        key = StreamKey(round=at.round, step=at.step)
        codecs = [self._plain] * len(smashed)
        with watch.phase("encode"):
            parts = encode_tensors("smashed", self._smashed, smashed, codecs, key)
        samples = len(smashed[0])
        exchanged = self._link.request(
            "evaluate",
            parts,
            max_reply_bytes=most_bytes(self._given, copies=samples),
            round_=at.round,
            step=at.step,
            samples=samples,
        )
        watch.exchange(exchanged)
        with watch.phase("decode"):
            return decode_tensors(
                exchanged.reply,
                "smashed",
                self._given,
                samples,
                decode=lambda data, values: decode(data, max_values=values),
            )

    def report(self, score: Score, at: At, watch: Stopwatch) -> Reply:
        """Say how good the model is on this device's test samples.

        Args:
            score: What the evaluation came to.
            at: The present round, and the next step.
            watch: Times it.

        Returns:
            Header of the reply, which says how to go on.

        Raises:
            LinkError: The server refused, or did not come back.
        """
        exchanged = self._link.request(
            "score",
            max_reply_bytes=0,
            round_=at.round,
            step=at.step,
            samples=score.samples,
            scores=score.scores,
        )
        watch.exchange(exchanged)
        return exchanged.reply.header

    def _ask(  # noqa: PLR0917 - what a request is made of
        self,
        kind: Kind,
        parts: list[Part],
        expected: Iterable[TensorSpec],
        at: At,
        samples: int,
        watch: Stopwatch,
        *,
        timings: Timings | None = None,
        scores: Scores = UNSCORED,
    ) -> Transfer[Reply]:
        exchanged = self._link.request(
            kind,
            parts,
            max_reply_bytes=most_bytes(expected, copies=2 * samples),
            round_=at.round,
            step=at.step,
            samples=samples,
            timings=timings,
            scores=scores,
        )
        watch.exchange(exchanged)
        return exchanged.reply

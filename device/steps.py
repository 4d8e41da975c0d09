"""One training step of the front: its parts out to the server, their gradients back."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from slfac.codec import StreamKey, make_codec
from slfac.device.asking import Share
from slfac.device.draws import draw
from slfac.device.engine import Array, Arrays, Encoder, Engine
from slfac.device.link import Link
from slfac.device.sections import decode_tensors, encode_tensors, most_bytes
from slfac.device.stopwatch import Stopwatch
from slfac.wire.bundle import State
from slfac.wire.manifest import Manifest
from slfac.wire.messages import Timings, Welcome
from slfac.wire.transfer import Part


class At(NamedTuple):
    """Where a step stands in the run.

    Attributes:
        round: Its round.
        step: Its number, counted since the device joined.
    """

    round: int
    step: int


class StepMaker(Protocol):
    """Makes the steps of one device, up to their gradients.

    Attributes:
        codecs: One for each stream that it sends; they may remember something.
    """

    codecs: list[Encoder]

    def step(
        self, x: np.ndarray, target: np.ndarray, *, at: At, before: Timings, watch: Stopwatch
    ) -> tuple[float, Arrays]:
        """Get the gradients of one batch; see :meth:`Steps.step`."""


class _Posted(NamedTuple):
    """A part that is on its way."""

    seq: int
    samples: int


class Steps:
    """Makes the steps of one device, each in as many parts as the run's plan says.

    With micro-batches, each part has a forward and a backward pass of its own, and the forward
    pass of one runs while those before it travel. With blocks there is one pass each way, and
    one block is encoded while those before it travel. Either way the gradients are those of the
    mean loss over the whole batch.

    Args:
        link: The open link.
        welcome: What the server said about the run.
        manifest: The bundle's manifest.
        engine: Computes them.

    Attributes:
        codecs: One a smashed tensor; they may remember something from step to step.
    """

    def __init__(self, link: Link, welcome: Welcome, manifest: Manifest, engine: Engine) -> None:
        plan = welcome.plan
        self.codecs = engine.codecs(plan.codec_up, len(manifest.smashed))
        self._link = link
        self._manifest = manifest
        self._engine = engine
        self._front = engine.front
        self._plain = make_codec("none")
        self._seed = plan.seed
        self._index = welcome.index
        self._micro_batches = plan.micro_batches
        self._blocks = plan.stream_blocks

    def step(
        self, x: np.ndarray, target: np.ndarray, *, at: At, before: Timings, watch: Stopwatch
    ) -> tuple[float, Arrays]:
        """Get the gradients of one batch.

        Args:
            x: ``(B, ...) float32``, preprocessed.
            target: Its targets.
            at: Where the step stands.
            before: Timings of the step before, which travel with this one.
            watch: Times this one.

        Returns:
            The batch's mean loss, and the gradient of each parameter.

        Raises:
            SessionLost: The server forgot this session.
            TrainingError: Something is no longer finite.
            LinkError: The server refused, or did not come back.
        """
        if self._micro_batches > 1:
            return self._in_micro_batches(x, target, at, before, watch)
        with watch.phase("forward"):
            smashed = self._front.forward(x, self._draws(len(x), at, 0))
        bounds = _bounds(len(x), self._blocks)
        posted = []
        for part, (start, stop) in enumerate(bounds):
            with watch.phase("encode"), self._link.moving():
                block = [z[start:stop] for z in smashed]
                parts = self._encode(block, target[start:stop], at, part)
            share = Share(part, len(bounds), len(x))
            posted.append(self._post(parts, at, before, stop - start, share))
        losses, blocks = zip(*(self._collect(one, watch) for one in posted), strict=True)
        with watch.phase("backward"):
            whole = [self._joined(tensors) for tensors in zip(*blocks, strict=True)]
            return _mean(losses, posted), self._front.backward(whole)

    def _in_micro_batches(
        self, x: np.ndarray, target: np.ndarray, at: At, before: Timings, watch: Stopwatch
    ) -> tuple[float, Arrays]:
        bounds = _bounds(len(x), self._micro_batches)
        posted = []
        for part, (start, stop) in enumerate(bounds):
            with watch.phase("forward"), self._link.moving():
                draws = self._draws(stop - start, at, part)
                smashed = self._front.forward(x[start:stop], draws, part)
            with watch.phase("encode"), self._link.moving():
                parts = self._encode(smashed, target[start:stop], at, part)
            share = Share(part, len(bounds), len(x))
            posted.append(self._post(parts, at, before, stop - start, share))
        losses: list[float] = []
        total: Arrays = {}
        for part, one in enumerate(posted):
            loss, gradients = self._collect(one, watch)
            losses.append(loss)
            with watch.phase("backward"), self._link.moving():
                found = self._front.backward(gradients, part)
                total = {name: total[name] + g if part else g for name, g in found.items()}
        return _mean(losses, posted), total

    def _post(
        self, parts: Sequence[Part], at: At, before: Timings, samples: int, share: Share
    ) -> _Posted:
        seq = self._link.post(
            "step",
            parts,
            max_reply_bytes=most_bytes(self._manifest.smashed, copies=2 * samples),
            round_=at.round,
            step=at.step,
            samples=samples,
            timings=before,
            share=share,
        )
        return _Posted(seq, samples)

    def _collect(self, posted: _Posted, watch: Stopwatch) -> tuple[float, list[Array]]:
        """Loss and gradients of one part, once they are in."""
        exchanged = self._link.collect(posted.seq)
        watch.exchange(exchanged)
        with watch.phase("decode"), self._link.moving():
            smashed = self._manifest.smashed
            gradients = decode_tensors(
                exchanged.reply,
                "gradient",
                smashed,
                posted.samples,
                decode=self._engine.decode,
            )
        return exchanged.reply.header.loss, gradients

    def _encode(
        self, smashed: Sequence[Array], target: np.ndarray, at: At, part: int
    ) -> list[Part]:
        key = self._key(at, part)
        parts = encode_tensors("smashed", self._manifest.smashed, smashed, self.codecs, key)
        data = self._plain.encode(target)
        parts.append(Part("target", "target", data, "none", target.shape, str(target.dtype)))
        return parts

    def _joined(self, blocks: Sequence[Array]) -> Array:
        return blocks[0] if len(blocks) == 1 else self._engine.join(blocks)

    def _draws(self, batch: int, at: At, part: int) -> State:
        specs = self._manifest.random
        return draw(specs, batch, self._seed, self._index, at.round, at.step, part)

    def _key(self, at: At, part: int) -> StreamKey:
        return StreamKey(
            seed=self._seed,
            device=self._index,
            round=at.round,
            step=at.step,
            part=part,
            direction="up",
        )


def _bounds(samples: int, parts: int) -> list[tuple[int, int]]:
    """First sample of each part and of the next; no part is empty."""
    parts = min(parts, samples)
    edges = [samples * part // parts for part in range(parts + 1)]
    return list(itertools.pairwise(edges))


def _mean(losses: Sequence[float], posted: Sequence[_Posted]) -> float:
    """Mean over all samples of what are means over parts."""
    if len(losses) == 1:
        return losses[0]
    weighted = sum(loss * one.samples for loss, one in zip(losses, posted, strict=True))
    return weighted / sum(one.samples for one in posted)

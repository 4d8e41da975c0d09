"""A training step whose head and labels stay on the device: two requests in place of one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from slfac.codec import Codec, StreamKey, decode, make_codec
from slfac.device.evaluation import Score
from slfac.device.front import Front
from slfac.device.head import Head
from slfac.device.link import Exchanged, Link
from slfac.device.stopwatch import Stopwatch
from slfac.wire.bundle import Bundle, State
from slfac.wire.errors import CodecError, TrainingError
from slfac.wire.manifest import TensorSpec
from slfac.wire.messages import Reply, Role, Timings
from slfac.wire.sizes import most_bytes
from slfac.wire.transfer import Part, Transfer

Key = Callable[[int], StreamKey]


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
        self._manifest = bundle.manifest
        self._front = front
        self._head = head
        self._plain = make_codec("none")

    def step(  # noqa: PLR0917 - what a step is made of
        self,
        x: np.ndarray,
        target: np.ndarray,
        draws: State,
        codecs: Sequence[Codec],
        key: Key,
        place: tuple[int, int],
        before: Timings,
        watch: Stopwatch,
    ) -> tuple[float, State]:
        """Make a step up to its gradients.

        Args:
            x: ``(B, ...) float32``, preprocessed.
            target: The batch's targets; they go nowhere.
            draws: The random numbers of front and head.
            codecs: One for each stream, upwards.
            key: Gives the key of a stream.
            place: Round and step.
            before: Timings of the step before.
            watch: Times the phases.

        Returns:
            The batch's mean loss, and the gradients of all the device's parameters.

        Raises:
            TrainingError: Something is no longer finite.
            LinkError: The server refused, or did not come back.
            CodecError: A reply cannot be decoded.
        """
        front, spec, count = self._front, self._head.spec, len(self._manifest.smashed)
        sizes = {"round_": place[0], "step": place[1], "samples": len(x)}
        with watch.phase("forward"):
            smashed = front.forward(x, draws)
        with watch.phase("encode"):
            parts = _encode("smashed", self._manifest.smashed, smashed, codecs[:count], key, 0)
        exchanged = self._link.request(
            "step",
            parts,
            max_reply_bytes=most_bytes(spec.inputs, copies=2 * len(x)),
            timings=before,
            **sizes,
        )
        _add(watch, exchanged)
        with watch.phase("decode"):
            given = _decode(exchanged.reply, "smashed", spec.inputs, len(x))
        with watch.phase("forward"):
            made = self._head.step(front.state(), given, target, draws)
        if not np.isfinite(made.loss):
            raise TrainingError(
                f"the loss of step {place[1]} is not finite", "lower the learning rate"
            )
        with watch.phase("encode"):
            parts = _encode("gradient", spec.inputs, made.crossing, codecs[count:], key, count)
        exchanged = self._link.request(
            "head",
            parts,
            max_reply_bytes=most_bytes(self._manifest.smashed, copies=2 * len(x)),
            loss=made.loss,
            **sizes,
        )
        _add(watch, exchanged)
        with watch.phase("decode"):
            crossing = _decode(exchanged.reply, "gradient", self._manifest.smashed, len(x))
        with watch.phase("backward"):
            gradients = front.backward(crossing)
        front.buffers.update(made.buffers)
        return made.loss, {**gradients, **made.gradients}

    def middle(self, smashed: list[np.ndarray], place: tuple[int, int]) -> list[np.ndarray]:
        """Let the server evaluate the middle; nothing is compressed, and no stream moves on.

        Args:
            smashed: ``(B, ...) float32`` a smashed tensor.
            place: Round and next step.

        Returns:
            What the middle gives.

        Raises:
            LinkError: The server refused, or did not come back.
            CodecError: The reply cannot be decoded.
        """
        count = len(smashed[0])
        codecs = [self._plain] * len(smashed)
        parts = _encode("smashed", self._manifest.smashed, smashed, codecs, None, 0)
        reply = self._link.request(
            "evaluate",
            parts,
            max_reply_bytes=most_bytes(self._head.spec.inputs, copies=count),
            round_=place[0],
            step=place[1],
            samples=count,
        ).reply
        return _decode(reply, "smashed", self._head.spec.inputs, count)

    def report(self, score: Score, place: tuple[int, int]) -> Reply:
        """Say how good the model is on this device's test samples.

        Args:
            score: What the evaluation came to.
            place: Round and next step.

        Returns:
            Header of the reply, which says how to go on.

        Raises:
            LinkError: The server refused, or did not come back.
        """
        return self._link.request(
            "score",
            max_reply_bytes=0,
            round_=place[0],
            step=place[1],
            samples=score.samples,
            loss=score.loss,
            accuracy=score.accuracy,
            balanced_accuracy=score.balanced_accuracy,
        ).reply.header


def _add(watch: Stopwatch, exchanged: Exchanged) -> None:
    watch.add("send", exchanged.send_ms)
    watch.add("wait", exchanged.wait_ms)


def _encode(  # noqa: PLR0917 - what a section is made of
    role: Role,
    specs: Iterable[TensorSpec],
    tensors: Sequence[np.ndarray],
    codecs: Sequence[Codec],
    key: Key | None,
    first: int,
) -> list[Part]:
    parts = []
    for layer, (spec, tensor, codec) in enumerate(zip(specs, tensors, codecs, strict=True), first):
        try:
            data = codec.encode(tensor, key=key(layer) if key is not None else None)
        except CodecError as error:
            raise TrainingError(
                f"{role} {spec.name!r} cannot be sent: {error.what}",
                "check the data, or lower the learning rate",
            ) from error
        parts.append(Part(role, spec.name, data, codec.spec, tensor.shape, str(tensor.dtype)))
    return parts


def _decode(
    reply: Transfer[Reply], role: Role, specs: Iterable[TensorSpec], batch: int
) -> list[np.ndarray]:
    tensors = []
    for spec in specs:
        shape = (batch, *spec.shape)
        _, data = reply.part(role, spec.name)
        tensor = decode(data, max_values=int(np.prod(shape)))
        if tensor.shape != shape or tensor.dtype != np.float32:
            raise CodecError(
                f"{role} {spec.name!r} is {tensor.shape} {tensor.dtype}, "
                f"{shape} float32 was expected"
            )
        tensors.append(tensor)
    return tensors

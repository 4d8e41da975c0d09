"""From requests to what the trainer works with, and from its results to replies."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from slfac.codec import Codec, StreamKey, decode, make_codec
from slfac.server.back import LARGEST_VALUE, Batch, Outcome
from slfac.server.events import Arrived
from slfac.server.losses import check_target
from slfac.wire.bundle import State, pack_state, unpack_state
from slfac.wire.errors import ProtocolError
from slfac.wire.manifest import Manifest
from slfac.wire.messages import Directive, Reply, Request
from slfac.wire.transfer import Frames, Part, Transfer, cut_transfer, frames_bytes

FRONT_NAME = "front"
TARGET_NAME = "target"
_HEADER_SLACK_BYTES = 1 << 16
# Running variances are squares of activations.
_LARGEST_FRONT_VALUE = LARGEST_VALUE**2


@dataclass(frozen=True)
class Step:
    """A device's step request, decoded.

    Attributes:
        arrived: The request.
        batch: What it held.
        smashed_bytes: Bytes of the smashed data as they came.
        smashed_values: How many float32 values they stand for.
        decode_ms: Time spent decoding.
    """

    arrived: Arrived
    batch: Batch
    smashed_bytes: int
    smashed_values: int
    decode_ms: float


@dataclass(frozen=True)
class Answer:
    """A reply ready to be sent.

    Attributes:
        frames: What to send.
        bytes: What that takes at the socket API.
        gradient_bytes: Bytes of the encoded gradients in it.
        gradient_values: How many float32 values they stand for.
        encode_ms: Time spent encoding.
    """

    frames: Frames
    bytes: int
    gradient_bytes: int = 0
    gradient_values: int = 0
    encode_ms: float = 0.0


class Exchange:
    """Decodes requests and encodes replies of one run.

    Args:
        manifest: The bundle's manifest.
        batch_size: Largest batch a device may send.
        codec_down: Codec of the gradients.
        seed: The run's seed, for codecs that draw random numbers.
    """

    def __init__(self, manifest: Manifest, *, batch_size: int, codec_down: str, seed: int) -> None:
        self._manifest = manifest
        self._batch_size = batch_size
        self._codec_down = codec_down
        self._seed = seed
        self._codecs: dict[tuple[int, int], Codec] = {}

    def read_step(self, arrived: Arrived) -> Step:
        """Decode a step request and check it against the model.

        Args:
            arrived: The request.

        Returns:
            The step.

        Raises:
            CodecError: A payload cannot be decoded.
            ProtocolError: A tensor is missing, of another shape, or not finite, or a
                target is out of range.
        """
        start_s = time.perf_counter()
        transfer = arrived.transfer
        samples = transfer.header.samples
        if not 1 <= samples <= self._batch_size:
            raise ProtocolError(
                f"a step of {samples} samples came, 1 to {self._batch_size} are allowed"
            )
        smashed = tuple(
            self._smashed(transfer, spec.name, (samples, *spec.shape))
            for spec in self._manifest.smashed
        )
        target = decode(
            transfer.part("target", TARGET_NAME)[1], max_values=samples * self._manifest.num_outputs
        )
        batch = Batch(smashed=smashed, target=check_target(self._manifest, target, samples))
        sections = transfer.header.sections
        return Step(
            arrived=arrived,
            batch=batch,
            smashed_bytes=sum(s.length for s in sections if s.role == "smashed"),
            smashed_values=sum(array.size for array in smashed),
            decode_ms=(time.perf_counter() - start_s) * 1e3,
        )

    def read_front(self, arrived: Arrived) -> State:
        """Unpack the front that a device sends at a round's end.

        Args:
            arrived: The request.

        Returns:
            The front.

        Raises:
            BundleError: It does not fit the manifest.
            ProtocolError: It is missing, not finite, or far too large.
        """
        _, data = arrived.transfer.part("front", FRONT_NAME)
        state = unpack_state(self._manifest, bytes(data))
        for name, tensor in state.items():
            if not np.isfinite(tensor).all():
                raise ProtocolError(f"front tensor {name!r} holds values that are not finite")
            if tensor.dtype.kind == "f" and (np.abs(tensor) > _LARGEST_FRONT_VALUE).any():
                raise ProtocolError(
                    f"front tensor {name!r} holds values above {_LARGEST_FRONT_VALUE:g}",
                    "check the data, or lower the learning rate",
                )
        return state

    def write_gradients(
        self, step: Step, outcome: Outcome, *, round_: int, train_ms: float
    ) -> Answer:
        """Encode a device's gradients into its reply.

        Args:
            step: Its request.
            outcome: What the step gave.
            round_: The present round.
            train_ms: Time of the training step.

        Returns:
            The reply.

        Raises:
            CodecError: A gradient is not finite.
        """
        start_s = time.perf_counter()
        index = step.arrived.index
        parts = []
        for layer, (spec, gradient) in enumerate(
            zip(self._manifest.smashed, outcome.gradients, strict=True)
        ):
            codec = self._codec(index, layer)
            key = StreamKey(self._seed, index, step.arrived.transfer.header.seq, 0, layer)
            data = codec.encode(gradient, key=key)
            shape, dtype = gradient.shape, str(gradient.dtype)
            parts.append(Part("gradient", spec.name, data, codec.spec, shape, dtype))
        encode_ms = (time.perf_counter() - start_s) * 1e3
        reply = self._reply(
            step.arrived,
            round_=round_,
            loss=outcome.loss,
            times_ms=(step.decode_ms, train_ms, encode_ms),
        )
        frames = cut_transfer(reply, parts)
        return Answer(
            frames=frames,
            bytes=frames_bytes(frames),
            gradient_bytes=sum(memoryview(part.data).nbytes for part in parts),
            gradient_values=sum(gradient.size for gradient in outcome.gradients),
            encode_ms=encode_ms,
        )

    def write_front(
        self, arrived: Arrived, front: State, *, round_: int, directive: Directive
    ) -> Answer:
        """Put a front into the reply to a join or front request.

        Args:
            arrived: The request.
            front: The front to go on with.
            round_: The round to work in.
            directive: Whether to go on.

        Returns:
            The reply.
        """
        parts = [Part("front", FRONT_NAME, pack_state(front), "safetensors")]
        frames = cut_transfer(self._reply(arrived, round_=round_, directive=directive), parts)
        return Answer(frames=frames, bytes=frames_bytes(frames))

    def forget(self, index: int) -> None:
        """Drop the codecs of a device that is gone.

        Args:
            index: The device.
        """
        self._codecs = {key: codec for key, codec in self._codecs.items() if key[0] != index}

    def _codec(self, index: int, layer: int) -> Codec:
        if (index, layer) not in self._codecs:
            self._codecs[index, layer] = make_codec(self._codec_down)
        return self._codecs[index, layer]

    def _smashed(
        self, transfer: Transfer[Request], name: str, shape: tuple[int, ...]
    ) -> np.ndarray:
        _, data = transfer.part("smashed", name)
        array = decode(data, max_values=int(np.prod(shape)))
        if array.shape != shape or array.dtype != np.float32:
            raise ProtocolError(
                f"smashed data {name!r} is {array.shape} {array.dtype}, not {shape} float32"
            )
        if not np.isfinite(array).all():
            raise ProtocolError(
                f"smashed data {name!r} holds values that are not finite",
                "check the data, or lower the learning rate",
            )
        return array

    def _reply(
        self,
        arrived: Arrived,
        *,
        round_: int,
        directive: Directive = "train",
        loss: float = float("nan"),
        times_ms: Sequence[float] = (0.0, 0.0, 0.0),
    ) -> Reply:
        header = arrived.transfer.header
        decode_ms, train_ms, encode_ms = times_ms
        return Reply(
            session=header.session,
            seq=header.seq,
            kind=header.kind,
            round=round_,
            directive=directive,
            loss=loss,
            decode_ms=decode_ms,
            train_ms=train_ms,
            encode_ms=encode_ms,
            sections=(),
        )


def largest_request_bytes(manifest: Manifest, batch_size: int) -> int:
    """Upper bound of a request's payload: the larger of a step in float32 and a front.

    Args:
        manifest: The bundle's manifest.
        batch_size: Largest batch.
    """
    smashed = sum(int(np.prod(spec.shape)) for spec in manifest.smashed) * batch_size * 4
    target = manifest.num_outputs * batch_size * 8
    tensors = [*manifest.parameters, *(buffer.tensor for buffer in manifest.buffers)]
    front = sum(int(np.prod(spec.shape)) * 8 + 512 for spec in tensors)
    # A codec may cost a little more than float32 on tensors it was not made for.
    return max(2 * (smashed + target), front) + _HEADER_SLACK_BYTES

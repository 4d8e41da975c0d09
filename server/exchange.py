"""From requests to what the trainer works with, and from its results to replies."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from slfac.codec import Buffer, StreamKey, decode
from slfac.codec.base import State
from slfac.server.accelerator import memory_errors
from slfac.server.back import LARGEST_VALUE, Batch, Outcome
from slfac.server.codec import ReadPayload, decode_batch, make_torch_codec, read_payload
from slfac.server.events import Arrived
from slfac.server.losses import check_target
from slfac.wire.bundle import State as FrontState
from slfac.wire.bundle import pack_state, unpack_state
from slfac.wire.errors import ProtocolError
from slfac.wire.manifest import Manifest, TensorSpec
from slfac.wire.messages import Directive, Reply, Request, Role
from slfac.wire.transfer import Frames, Part, Transfer, cut_transfer, frames_bytes

FRONT_NAME = "front"
TARGET_NAME = "target"
_HEADER_SLACK_BYTES = 1 << 16
# Running variances are squares of activations.
_LARGEST_FRONT_VALUE = LARGEST_VALUE**2


@dataclass(frozen=True)
class Step:
    """A device's step request, checked and not yet decoded.

    Attributes:
        arrived: The request.
        smashed: One payload per smashed tensor, of the right shape.
        target: As in :class:`Batch`.
        target_bytes: Bytes of the target as it came.
        smashed_bytes: Bytes of the smashed data as they came.
        smashed_values: How many float32 values they stand for.
        read_ms: Time spent so far.
    """

    arrived: Arrived
    smashed: tuple[ReadPayload, ...]
    target: np.ndarray
    target_bytes: int
    smashed_bytes: int
    smashed_values: int
    read_ms: float


@dataclass(frozen=True)
class Decoded:
    """A device's step, decoded.

    Attributes:
        step: The request.
        batch: What it held.
        decode_ms: Time spent reading it, and its share, by values, of the time spent
            decoding those of all devices.
    """

    step: Step
    batch: Batch
    decode_ms: float


@dataclass(frozen=True)
class Answer:
    """A reply ready to be sent.

    Attributes:
        frames: What to send.
        bytes: What that takes at the socket API.
        gradient_bytes: Bytes of the encoded gradients in it.
        gradient_values: How many float32 values they stand for.
        encode_ms: Time spent encoding; where gradients of several devices were encoded
            together, its share by values.
    """

    frames: Frames
    bytes: int
    gradient_bytes: int = 0
    gradient_values: int = 0
    encode_ms: float = 0.0


@dataclass(frozen=True)
class Crossing:
    """Tensors that a reply carries.

    Attributes:
        role: What they are.
        specs: The tensors.
        first: Number of the first one's stream of codecs; the others follow.
    """

    role: Role
    specs: tuple[TensorSpec, ...]
    first: int = 0


class Exchange:
    """Decodes requests and encodes replies of one run.

    Args:
        manifest: The bundle's manifest.
        batch_size: Largest batch a device may send.
        codec_down: Codec of the gradients.
        seed: The run's seed, for codecs that draw random numbers.
        device: Where the back half is: where smashed data goes and gradients come from.
    """

    def __init__(
        self,
        manifest: Manifest,
        *,
        batch_size: int,
        codec_down: str,
        seed: int,
        device: torch.device,
    ) -> None:
        self._manifest = manifest
        self._gradients = Crossing("gradient", manifest.smashed)
        self._batch_size = batch_size
        self._codec = make_torch_codec(codec_down, device)
        self._seed = seed
        self._device = device

    def read_step(self, arrived: Arrived) -> Step:
        """Check a step request against the model, before those of others are in.

        Args:
            arrived: The request.

        Returns:
            The step.

        Raises:
            CodecError: A payload cannot be decoded.
            ProtocolError: A tensor is missing or of another shape, or a target is out of
                range.
        """
        start_s = time.perf_counter()
        transfer = arrived.transfer
        samples = self._samples(transfer)
        smashed = self._payloads(transfer, "smashed", self._manifest.smashed)
        target = decode(
            transfer.part("target", TARGET_NAME)[1], max_values=samples * self._manifest.num_outputs
        )
        sections = transfer.header.sections
        return Step(
            arrived=arrived,
            smashed=smashed,
            target=check_target(self._manifest, target, samples),
            target_bytes=sum(s.length for s in sections if s.role == "target"),
            smashed_bytes=sum(s.length for s in sections if s.role == "smashed"),
            smashed_values=sum(payload.header.values for payload in smashed),
            read_ms=(time.perf_counter() - start_s) * 1e3,
        )

    @memory_errors("smashed data is decoded")
    def decode(self, steps: Sequence[Step]) -> list[Decoded]:
        """Decode the smashed data of all devices in one go.

        Args:
            steps: Their requests.

        Returns:
            The steps, decoded, in the same order.

        Raises:
            TrainingError: The memory of the device is full.
        """
        start_s = time.perf_counter()
        tensors = iter(decode_batch([one for step in steps for one in step.smashed], self._device))
        batches = [
            Batch(
                tuple(next(tensors) for _ in step.smashed),
                step.target,
                step.arrived.transfer.header.step_samples,
            )
            for step in steps
        ]
        _finish(self._device)
        ms_per_value = (time.perf_counter() - start_s) * 1e3 / sum(s.smashed_values for s in steps)
        return [
            Decoded(step, batch, step.read_ms + step.smashed_values * ms_per_value)
            for step, batch in zip(steps, batches, strict=True)
        ]

    def read_front(self, arrived: Arrived) -> FrontState:
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
        self, done: Sequence[tuple[Decoded, Outcome]], *, round_: int, train_ms: float
    ) -> Iterator[Answer]:
        """Encode the gradients of all devices into their replies.

        Args:
            done: Their requests, and what the step gave them.
            round_: The present round.
            train_ms: Time of the training step.

        Yields:
            The replies in the same order, each as soon as it is ready.

        Raises:
            CodecError: A gradient is not finite.
            TrainingError: The memory of the device is full.
        """
        yield from self._write(done, self._gradients, round_=round_, train_ms=train_ms)

    def _write(
        self,
        done: Sequence[tuple[Decoded, Outcome]],
        crossing: Crossing,
        *,
        round_: int,
        train_ms: float,
    ) -> Iterator[Answer]:
        batches = [done] if self._codec.together else [[one] for one in done]
        for batch in batches:
            start_s = time.perf_counter()
            keys, tensors = [], []
            for decoded, outcome in batch:
                for layer, tensor in enumerate(outcome.gradients, crossing.first):
                    keys.append(self._key(decoded.step.arrived, layer))
                    tensors.append(tensor)
            with memory_errors("gradients are encoded"):
                payloads = iter(self._codec.encode_batch(tensors, keys))
            values = sum(tensor.numel() for tensor in tensors)
            ms_per_value = (time.perf_counter() - start_s) * 1e3 / values
            for decoded, outcome in batch:
                own = [next(payloads) for _ in outcome.gradients]
                times_ms = (
                    decoded.decode_ms,
                    train_ms,
                    ms_per_value * sum(tensor.numel() for tensor in outcome.gradients),
                )
                yield self._answer(decoded, outcome, own, crossing, round_, times_ms)

    def write_front(
        self, arrived: Arrived, front: FrontState, *, round_: int, directive: Directive
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

    def write_word(self, arrived: Arrived, *, round_: int, directive: Directive) -> Answer:
        """Answer a request without a payload.

        Args:
            arrived: The request.
            round_: The server's round.
            directive: What to do.

        Returns:
            The reply.
        """
        frames = cut_transfer(self._reply(arrived, round_=round_, directive=directive), ())
        return Answer(frames=frames, bytes=frames_bytes(frames))

    def forget(self, index: int) -> None:
        """Drop the codecs of a device that is gone.

        Args:
            index: The device.
        """
        self._codec.forget(index)

    def codecs(self) -> dict[str, State]:
        """What each stream's codec remembers, for a checkpoint."""
        return self._codec.state()

    def restore_codecs(self, state: Mapping[str, State]) -> None:
        """Take back what :meth:`codecs` gave.

        Args:
            state: As given by an exchange of the same settings.

        Raises:
            CodecError: It is not the state of such codecs.
        """
        self._codec.restore(state)

    def _answer(  # noqa: PLR0917 - what a reply is made of
        self,
        decoded: Decoded,
        outcome: Outcome,
        payloads: Sequence[Buffer],
        crossing: Crossing,
        round_: int,
        times_ms: tuple[float, float, float],
    ) -> Answer:
        shapes = [tuple(gradient.shape) for gradient in outcome.gradients]
        parts = [
            Part(crossing.role, spec.name, data, self._codec.spec, shape, "float32")
            for spec, data, shape in zip(crossing.specs, payloads, shapes, strict=True)
        ]
        reply = self._reply(
            decoded.step.arrived, round_=round_, loss=outcome.loss, times_ms=times_ms
        )
        frames = cut_transfer(reply, parts)
        return Answer(
            frames=frames,
            bytes=frames_bytes(frames),
            gradient_bytes=sum(memoryview(data).nbytes for data in payloads),
            gradient_values=sum(gradient.numel() for gradient in outcome.gradients),
            encode_ms=times_ms[2],
        )

    def _key(self, arrived: Arrived, layer: int) -> StreamKey:
        header = arrived.transfer.header
        return StreamKey(
            seed=self._seed,
            device=arrived.index,
            round=header.round,
            step=header.step,
            part=header.part,
            layer=layer,
            direction="down",
        )

    def _samples(self, transfer: Transfer[Request]) -> int:
        samples = transfer.header.samples
        if not 1 <= samples <= self._batch_size:
            raise ProtocolError(
                f"a step of {samples} samples came, 1 to {self._batch_size} are allowed"
            )
        return samples

    def _payloads(
        self, transfer: Transfer[Request], role: Role, specs: Sequence[TensorSpec]
    ) -> tuple[ReadPayload, ...]:
        """The sections of a role, one for each tensor, read and checked against its shape."""
        found = []
        for spec in specs:
            shape = (transfer.header.samples, *spec.shape)
            _, data = transfer.part(role, spec.name)
            payload = read_payload(data, max_values=int(np.prod(shape)), device=self._device)
            header = payload.header
            if header.shape != shape or header.dtype != np.dtype("<f4"):
                raise ProtocolError(
                    f"{role} data {spec.name!r} is {header.shape} {header.dtype}, "
                    f"not {shape} float32"
                )
            found.append(payload)
        return tuple(found)

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


def _finish(device: torch.device) -> None:
    """Wait for the device, so that times are those of what they are said to be."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def largest_request_bytes(manifest: Manifest, batch_size: int) -> int:
    """Upper bound of a request's payload: the larger of a step in float32 and a front.

    Args:
        manifest: The bundle's manifest.
        batch_size: Largest batch.
    """
    middle = manifest.head.inputs if manifest.head else ()
    sizes = [sum(int(np.prod(s.shape)) for s in specs) for specs in (manifest.smashed, middle)]
    smashed = max(sizes) * batch_size * 4
    target = manifest.num_outputs * batch_size * 8
    tensors = [*manifest.parameters, *(buffer.tensor for buffer in manifest.buffers)]
    front = sum(int(np.prod(spec.shape)) * 8 + 512 for spec in tensors)
    # A codec may cost a little more than float32 on tensors it was not made for.
    return max(2 * (smashed + target), front) + _HEADER_SLACK_BYTES

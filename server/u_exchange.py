"""Requests and replies of a run whose labels and head stay on the devices."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from slfac.codec import make_codec
from slfac.server.back import Outcome
from slfac.server.events import Arrived
from slfac.server.exchange import Answer, Crossing, Decoded, Exchange, Step
from slfac.wire.errors import BundleError, ProtocolError
from slfac.wire.manifest import Manifest, TensorSpec
from slfac.wire.messages import Request, Role
from slfac.wire.transfer import Part, Transfer, cut_transfer, frames_bytes


class UShapedExchange(Exchange):
    """Decodes requests and encodes replies where the middle's outputs cross as well.

    Streams of codecs are numbered as the devices number theirs: first the smashed tensors, then
    what the middle gives.

    Args:
        manifest: The manifest of a bundle with a head.
        batch_size: Largest batch a device may send.
        codec_down: Codec of what the middle gives, and of the gradients.
        seed: The run's seed, for codecs that draw random numbers.
        device: Where the middle is.

    Raises:
        BundleError: The bundle has no head.
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
        super().__init__(
            manifest, batch_size=batch_size, codec_down=codec_down, seed=seed, device=device
        )
        if not manifest.head:
            raise BundleError("the bundle has no head", "export it with --head-cut")
        self._outputs = Crossing("smashed", manifest.head.inputs, len(manifest.smashed))
        self._plain = make_codec("none")

    def read_step(self, arrived: Arrived) -> Step:
        """Check the smashed data of a step.

        Args:
            arrived: The request.

        Returns:
            The step, with targets of no values: theirs stay where they are.

        Raises:
            CodecError: A payload cannot be decoded.
            ProtocolError: A tensor is missing or of another shape, or targets came too.
        """
        if any(section.role == "target" for section in arrived.transfer.header.sections):
            raise ProtocolError(
                "a step came with targets, and in mode u-shaped they stay on the device",
                "install the same release of slfac on both ends",
            )
        return self._read(arrived, "smashed", self._manifest.smashed)

    def read_gradients(self, arrived: Arrived) -> Step:
        """Check the gradients that a device sends of what the middle gave.

        Args:
            arrived: The request.

        Returns:
            The request, with the gradients in the place of smashed data.

        Raises:
            CodecError: A payload cannot be decoded.
            ProtocolError: A tensor is missing or of another shape, or the loss is not finite.
        """
        loss = arrived.transfer.header.loss
        if not math.isfinite(loss):
            raise ProtocolError(f"its loss is {loss}", "lower the learning rate")
        return self._read(arrived, "gradient", self._outputs.specs)

    def write_outputs(
        self,
        done: Sequence[tuple[Decoded, tuple[torch.Tensor, ...]]],
        *,
        round_: int,
        train_ms: float,
    ) -> Iterator[Answer]:
        """Encode what the middle gives into the replies of all devices.

        Args:
            done: Their requests, and what the middle gave.
            round_: The present round.
            train_ms: Time of the forward pass.

        Yields:
            The replies in the same order, each as soon as it is ready.

        Raises:
            CodecError: A value is not finite.
            TrainingError: The memory of the device is full.
        """
        outcomes = [(decoded, Outcome(math.nan, tensors)) for decoded, tensors in done]
        yield from self._write(outcomes, self._outputs, round_=round_, train_ms=train_ms)

    def read_samples(self, arrived: Arrived) -> list[torch.Tensor]:
        """Smashed data of samples to evaluate on.

        Args:
            arrived: The request.

        Returns:
            One tensor a smashed tensor, where the middle is.

        Raises:
            CodecError: A payload cannot be decoded.
            ProtocolError: A tensor is missing or of another shape.
        """
        (decoded,) = self.decode([self._read(arrived, "smashed", self._manifest.smashed)])
        return list(decoded.batch.smashed)

    def write_samples(
        self, arrived: Arrived, outputs: Sequence[torch.Tensor], *, round_: int
    ) -> Answer:
        """Answer with what the middle gives in evaluation, as it is.

        No codec takes part, so that an evaluation that is made again leaves nothing changed.

        Args:
            arrived: The request.
            outputs: What the middle gave.
            round_: The present round.

        Returns:
            The reply.

        Raises:
            CodecError: A value is not finite.
        """
        parts = []
        for spec, tensor in zip(self._outputs.specs, outputs, strict=True):
            array = tensor.cpu().numpy()
            data = self._plain.encode(array)
            parts.append(Part("smashed", spec.name, data, "none", array.shape, "float32"))
        frames = cut_transfer(self._reply(arrived, round_=round_), parts)
        return Answer(frames=frames, bytes=frames_bytes(frames))

    def _read(self, arrived: Arrived, role: Role, specs: Sequence[TensorSpec]) -> Step:
        start_s = time.perf_counter()
        transfer: Transfer[Request] = arrived.transfer
        samples = self._samples(transfer)
        payloads = self._payloads(transfer, role, specs)
        return Step(
            arrived=arrived,
            smashed=payloads,
            target=np.empty((samples, 0), np.float32),
            target_bytes=0,
            smashed_bytes=sum(s.length for s in transfer.header.sections if s.role == role),
            smashed_values=sum(payload.header.values for payload in payloads),
            read_ms=(time.perf_counter() - start_s) * 1e3,
        )


def whole_step(
    step: Decoded, gradients: Decoded, outputs: Answer, answer: Answer
) -> tuple[Decoded, Answer]:
    """Both requests and both replies of a step as one, for the sums.

    Args:
        step: The smashed data.
        gradients: The gradients of what the middle gave.
        outputs: What it gave, as it was sent.
        answer: The gradients of the smashed data, as they were sent.

    Returns:
        The requests, and the replies.
    """
    first, second = step.step, gradients.step
    arrived = replace(
        second.arrived,
        request_bytes=first.arrived.request_bytes + second.arrived.request_bytes,
    )
    request = replace(
        first,
        arrived=arrived,
        smashed_bytes=first.smashed_bytes + second.smashed_bytes,
        smashed_values=first.smashed_values + second.smashed_values,
    )
    reply = replace(
        answer,
        bytes=outputs.bytes + answer.bytes,
        gradient_bytes=outputs.gradient_bytes + answer.gradient_bytes,
        gradient_values=outputs.gradient_values + answer.gradient_values,
        encode_ms=outputs.encode_ms + answer.encode_ms,
    )
    decode_ms = step.decode_ms + gradients.decode_ms
    return Decoded(request, step.batch, decode_ms), reply

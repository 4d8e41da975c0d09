"""What a step sends and receives, by really encoding what crosses a cut."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from slfac.codec import Codec, StreamKey, decode, make_codec
from slfac.data import BatchStream, apply, make_targets, open_dataset
from slfac.export.trial import Batch, Trial
from slfac.hw_profiles.estimate import Estimate, between, exact, within
from slfac.wire.errors import SettingsError
from slfac.wire.manifest import Loss, Preprocessing
from slfac.wire.meter import wire_bytes

BATCHES = 3
# Student's 97.5 % quantile for as many.
_STUDENT = 4.303
# A message of a step has a header frame of about this size beside its payload.
_HEADER_BYTES = 128
_MOST_SAMPLES = 1 << 40
PAYLOAD = "payload"


@dataclass(frozen=True)
class Input:
    """What fronts are run on.

    Attributes:
        batches: Inputs and targets.
        samples: Samples of the board's data.
        source: What they are, for people.
        synthetic: Whether they are made up.
    """

    batches: list[Batch]
    samples: int
    source: str
    synthetic: bool


@dataclass(frozen=True)
class Payloads:
    """What crosses the network in a step, and what the server does for it.

    Attributes:
        tensor_bytes: Bytes of float32 of the smashed data.
        up_bytes: Sent on TCP: smashed data and targets.
        down_bytes: Received on TCP: gradients.
        codec_ms: How long this machine takes to decode the one and encode the other.
    """

    tensor_bytes: int
    up_bytes: Estimate
    down_bytes: Estimate
    codec_ms: float


def make_input(  # noqa: PLR0917 - what a batch is made of
    data: str,
    batch: int,
    input_shape: tuple[int, ...],
    num_outputs: int,
    preprocessing: Preprocessing,
    loss: Loss,
    seed: int,
) -> Input:
    """Batches of the user's data, or of made-up ones.

    Args:
        data: A path, or the number of samples that the board will have.
        batch: Samples in a batch.
        input_shape: Shape of one sample.
        num_outputs: Width of the model's output.
        preprocessing: From stored values to the model's input.
        loss: What the targets are for.
        seed: Of what is made up, and of the order of batches.

    Raises:
        SettingsError: There are fewer samples than a batch has.
        DataError: The data cannot be read, or does not fit.
    """
    if data.isascii() and data.isdigit():
        samples = int(data)
        _check_samples(samples, batch)
        batches = [
            _made_up(np.random.default_rng([seed, i]), batch, input_shape, num_outputs, loss)
            for i in range(BATCHES)
        ]
        said = f"synthetic input, seed {seed}: smooth noise, not your data"
        return Input(batches, samples, said, synthetic=True)
    held = open_dataset(Path(data), split="train", input_shape=input_shape, num_classes=num_outputs)
    _check_samples(len(held), batch)
    stream = BatchStream(len(held), batch, seed, 0)
    whole: list[np.ndarray] = []
    while len(whole) < BATCHES:
        chosen = stream.next()
        if len(chosen) == batch:
            whole.append(chosen)
    batches = [
        (
            apply(preprocessing, held.images[chosen]),
            make_targets(loss, held.labels[chosen], num_outputs),
        )
        for chosen in whole
    ]
    return Input(batches, len(held), f"{BATCHES} batches of {data}", synthetic=False)


def measure_payloads(trial: Trial, batches: Sequence[Batch], codec: str, given: Input) -> Payloads:
    """Encode what crosses a cut, both ways.

    Args:
        trial: The cut, run on the batches.
        batches: The batches, for their targets.
        codec: The codec's spec.
        given: What the batches are.

    Returns:
        Sizes with 95 % intervals of a batch's mean, after Student. Sizes that are the same for
        every batch are exact; those of synthetic input are as wide as ``spec`` is.

    Raises:
        CodecError: The codec is unknown, or cannot take what crosses.
    """
    plain = make_codec("none")
    up, down, took = [], [], []
    # One codec a stream, as in training: some remember what they have sent.
    sends = [make_codec(codec) for _ in trial.smashed[0]]
    answers = [make_codec(codec) for _ in trial.smashed[0]]
    for step, (smashed, gradients) in enumerate(zip(trial.smashed, trial.gradients, strict=True)):
        payloads = [
            c.encode(z, key=StreamKey(step=step, layer=i))
            for i, (c, z) in enumerate(zip(sends, smashed, strict=True))
        ]
        begin = time.process_time()
        for payload, z in zip(payloads, smashed, strict=True):
            decode(payload, max_values=z.size)
        replies = _encoded(answers, gradients, step)
        took.append(1e3 * (time.process_time() - begin))
        target = plain.encode(batches[step][1])
        up.append(_message(len(target) + sum(map(len, payloads))))
        down.append(_message(sum(map(len, replies))))
    return Payloads(
        tensor_bytes=sum(z.nbytes for z in trial.smashed[0]),
        up_bytes=_size(up, codec, given),
        down_bytes=_size(down, codec, given),
        codec_ms=statistics.median(took),
    )


def _encoded(codecs: Sequence[Codec], tensors: Sequence[np.ndarray], step: int) -> list[bytes]:
    keys = [StreamKey(step=step, layer=i, direction="down") for i in range(len(codecs))]
    triples = zip(codecs, tensors, keys, strict=True)
    return [bytes(codec.encode(tensor, key=key)) for codec, tensor, key in triples]


def _message(payload_bytes: int) -> int:
    return wire_bytes(_HEADER_BYTES) + wire_bytes(payload_bytes)


def _size(sizes: Sequence[int], codec: str, given: Input) -> Estimate:
    said = f"{codec} on {given.source}"
    if len(set(sizes)) == 1:
        return exact(float(sizes[0]), f"{said}: the same for every batch")
    mean = statistics.fmean(sizes)
    if given.synthetic:
        return within(mean, 0.0, "spec", said, PAYLOAD)
    half = _STUDENT * statistics.stdev(sizes) / math.sqrt(len(sizes))
    return between(mean, mean - half, mean + half, "measured", said, PAYLOAD)


def _check_samples(samples: int, batch: int) -> None:
    if not batch <= samples <= _MOST_SAMPLES:
        raise SettingsError(
            f"--data has {samples} samples, a batch has {batch}",
            "give a smaller --batch-size, or more data" if samples < batch else "give fewer",
        )


def _made_up(
    rng: np.random.Generator,
    batch: int,
    input_shape: tuple[int, ...],
    num_outputs: int,
    loss: Loss,
) -> Batch:
    """Noise of which neighbours are alike, as in pictures: amplitudes fall with frequency."""
    axes = tuple(range(2, 1 + len(input_shape)))
    noise = rng.standard_normal((batch, *input_shape))
    if axes:
        spectrum = np.fft.rfftn(noise, axes=axes)
        sizes = [input_shape[axis - 1] for axis in axes]
        squares = [np.fft.fftfreq(n) ** 2 for n in sizes[:-1]] + [np.fft.rfftfreq(sizes[-1]) ** 2]
        distance = np.sqrt(sum(np.meshgrid(*squares, indexing="ij")))
        noise = np.fft.irfftn(spectrum / np.maximum(distance, 1 / max(sizes)), s=sizes, axes=axes)
    # Values of a picture, from 0 to 1.
    noise = np.clip(0.5 + 0.25 * noise / noise.std(), 0, 1).astype(np.float32)
    labels = rng.integers(0, num_outputs, batch)
    if loss != "cross_entropy":
        return noise, rng.random((batch, num_outputs), dtype=np.float32)
    return noise, make_targets(loss, labels, num_outputs)

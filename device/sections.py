"""Tensors as the sections of a message, and how large a message may be."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from slfac.codec import Buffer, StreamKey
from slfac.device.engine import Array, Encoder
from slfac.wire.errors import CodecError, TrainingError
from slfac.wire.manifest import TensorSpec
from slfac.wire.messages import Reply, Role
from slfac.wire.transfer import Part, Transfer

# What a codec or a file adds to its values: its own head, and one for each tensor.
_SLACK_BYTES = 64 * 1024
_TENSOR_HEAD_BYTES = 1024


def encode_tensors(
    role: Role,
    specs: Iterable[TensorSpec],
    tensors: Iterable[Array],
    codecs: Iterable[Encoder],
    key: StreamKey,
) -> list[Part]:
    """Encode tensors, each by the codec of its stream.

    Args:
        role: What they are.
        specs: Their names.
        tensors: One each.
        codecs: One each.
        key: That of the first one's stream; the others have the layers behind it.

    Returns:
        A section each.

    Raises:
        TrainingError: A tensor holds what no codec takes, as when training diverged.
    """
    parts = []
    for number, (spec, tensor, codec) in enumerate(zip(specs, tensors, codecs, strict=True)):
        try:
            data = codec.encode(tensor, key=replace(key, layer=key.layer + number))
        except CodecError as error:
            raise TrainingError(
                f"{role} data of step {key.step} cannot be sent: {error.what}",
                "check the data, or lower the learning rate",
            ) from error
        parts.append(Part(role, spec.name, data, codec.spec, tuple(tensor.shape), _dtype(tensor)))
    return parts


def decode_tensors(
    reply: Transfer[Reply],
    role: Role,
    specs: Iterable[TensorSpec],
    samples: int,
    *,
    decode: Callable[[Buffer, int], Array],
) -> list[Array]:
    """Decode the tensors in a reply.

    Args:
        reply: The reply.
        role: What they are.
        specs: Their names, and shapes without the batch axis.
        samples: Samples of the batch.
        decode: Gives the array of a payload with at most so many values.

    Returns:
        One ``(B, ...) float32`` array each.

    Raises:
        CodecError: A payload cannot be decoded, or is of another shape or dtype.
        ProtocolError: A section is missing.
    """
    tensors = []
    for spec in specs:
        shape = (samples, *spec.shape)
        _, data = reply.part(role, spec.name)
        tensor = decode(data, math.prod(shape))
        if tuple(tensor.shape) != shape or _dtype(tensor) != "float32":
            raise CodecError(
                f"the {role} data of {spec.name!r} is {tensor.shape} {tensor.dtype}, "
                f"{shape} float32 was expected"
            )
        tensors.append(tensor)
    return tensors


def _dtype(array: Array) -> str:
    """NumPy's name of a dtype, whatever the kind of array."""
    return str(array.dtype).rpartition(".")[2]


def most_bytes(specs: Iterable[TensorSpec], *, copies: int) -> int:
    """Bound of a payload that holds tensors so many times.

    Args:
        specs: The tensors.
        copies: How many times.

    Returns:
        Bytes.
    """
    values = sum(
        copies * math.prod(spec.shape) * np.dtype(spec.dtype).itemsize + _TENSOR_HEAD_BYTES
        for spec in specs
    )
    return values + _SLACK_BYTES

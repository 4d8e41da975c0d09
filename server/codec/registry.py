"""Torch codecs by spec for encoders, and by number for decoders.

A CPU gets the NumPy codecs, an accelerator the twins. On a CPU no twin comes first, with one
thread or with two, as ``tests/bench/test_twin_speed.py`` shows (``make bench``): NumPy
works through blocks that stay in the cache, and can decode one device's payload while another's
is still on its way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from slfac.codec import Buffer, make_codec
from slfac.codec.container import read_header
from slfac.codec.plain import Fp16Codec
from slfac.codec.rd.codec import RdCodec
from slfac.codec.slfac.codec import SlfacCodec
from slfac.server.codec.base import Decoder, ReadPayload, TorchCodec
from slfac.server.codec.fp16 import Fp16Decoder, Fp16Twin
from slfac.server.codec.numpy_codec import NumpyCodec, NumpyDecoder
from slfac.server.codec.rd.decoder import RdDecoder
from slfac.server.codec.rd.encoder import RdTwin
from slfac.server.codec.slfac.decoder import SlfacDecoder
from slfac.server.codec.slfac.encoder import SlfacTwin

_NUMPY = NumpyDecoder()
_TWINS: dict[int, Decoder[Any]] = {
    SlfacCodec.ident: SlfacDecoder(),
    Fp16Codec.ident: Fp16Decoder(),
    RdCodec.ident: RdDecoder(),
}


def make_torch_codec(spec: str, device: torch.device) -> TorchCodec:
    """Build the encoder of all streams of one direction.

    Args:
        spec: As :func:`slfac.codec.make_codec` takes it.
        device: Where the tensors are.

    Returns:
        The codec's twin, or the NumPy codec behind the same interface: on a CPU, and for a
        codec without a twin. ``none`` needs none: it only moves bytes.

    Raises:
        SettingsError: The spec is wrong.
    """
    codec = make_codec(spec)
    if device.type == "cpu":
        return NumpyCodec(codec.spec)
    if isinstance(codec, SlfacCodec):
        return SlfacTwin(codec, device)
    if isinstance(codec, RdCodec):
        return RdTwin(codec, device)
    if isinstance(codec, Fp16Codec):
        return Fp16Twin(device)
    return NumpyCodec(codec.spec)


def read_payload(payload: Buffer, *, max_values: int, device: torch.device) -> ReadPayload:
    """Check a payload, and parse what need not wait for others; see :class:`Decoder`.

    Args:
        payload: What an encoder gave, from anyone; kept until it is decoded.
        max_values: Most values the tensor may have.
        device: Where the tensor will be wanted.

    Returns:
        What :func:`decode_batch` takes.

    Raises:
        CodecError: The payload is damaged, of an unknown codec or version, or larger than
            ``max_values``.
    """
    header, body = read_header(payload, max_values=max_values)
    decoder = _NUMPY if device.type == "cpu" else _TWINS.get(header.ident, _NUMPY)
    return ReadPayload(header, decoder, decoder.read(header, body))


def decode_batch(payloads: Sequence[ReadPayload], device: torch.device) -> list[torch.Tensor]:
    """Decode payloads, those of one codec in one go.

    Args:
        payloads: As they were read.
        device: Where the tensors are to be.

    Returns:
        A tensor for each, of its header's shape and dtype, that overlaps no other.
    """
    tensors: dict[int, torch.Tensor] = {}
    by_decoder: dict[Decoder[Any], list[int]] = {}
    for position, payload in enumerate(payloads):
        by_decoder.setdefault(payload.decoder, []).append(position)
    for decoder, positions in by_decoder.items():
        read = [(payloads[i].header, payloads[i].content) for i in positions]
        tensors.update(zip(positions, decoder.load(read, device), strict=True))
    return [tensors[i] for i in range(len(payloads))]

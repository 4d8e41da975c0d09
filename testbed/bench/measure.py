"""Measures codecs on a tensor: bytes, error, time, memory."""

from __future__ import annotations

import math
import time
import tracemalloc
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct
from scipy.fft import dctn

from slfac.codec import Buffer, Codec, StreamKey, decode, make_codec
from slfac.testbed.bench.entropy import over_entropy
from slfac.testbed.bench.tensors import NamedTensor
from slfac.wire.errors import CodecError

# Quicker calls are repeated until they take as long, so that the clock's step is no part of it.
_LEAST_S = 0.002


class Measurement(Struct, frozen=True, kw_only=True):
    """One codec on one tensor.

    Attributes:
        codec: Canonical spec of the codec.
        tensor: Name of the tensor.
        bytes: Length of the payload, header included.
        bits_per_value: Of the payload.
        ratio: float32 bytes over payload bytes.
        exact: Whether decoding gave back every bit.
        snr_db: Energy of the tensor over energy of the error, in dB; None where either is 0.
        encode_ms: Best time of encoding.
        decode_ms: Best time of decoding.
        dct_ms: Best time of ``scipy.fft.dctn`` of the tensor, over all axes from the third on
            (the second where there are two).
        copy_ms: Best time of a plain copy of the tensor.
        encode_per_dct: ``encode_ms / dct_ms``.
        decode_per_dct: ``decode_ms / dct_ms``.
        encode_per_copy: ``encode_ms / copy_ms``.
        decode_per_copy: ``decode_ms / copy_ms``.
        encode_memory: Most memory allocated while encoding, the payload included, as a
            multiple of the tensor's.
        decode_memory: The same of decoding, the decoded array included.
        over_entropy: Bytes of the entropy-coded part over the entropy of its codes within their
            contexts; None of codecs without one.
    """

    codec: str
    tensor: str
    bytes: int
    bits_per_value: float
    ratio: float
    exact: bool
    snr_db: float | None
    encode_ms: float
    decode_ms: float
    dct_ms: float
    copy_ms: float
    encode_per_dct: float
    decode_per_dct: float
    encode_per_copy: float
    decode_per_copy: float
    encode_memory: float
    decode_memory: float
    over_entropy: float | None = None


class _Trial(NamedTuple):
    """A codec that is to be measured, and what it made of the tensor."""

    codec: Codec
    payload: Buffer
    exact: bool
    snr_db: float | None


def measure(
    specs: Sequence[str],
    tensor: NamedTensor,
    *,
    repeat: int,
    on_turn: Callable[[], None] = lambda: None,
) -> list[Measurement]:
    """Measure codecs on a tensor, all taking turns, so that all see the same machine.

    Args:
        specs: The codecs.
        tensor: The tensor.
        repeat: How many timings to take the best of.
        on_turn: Told when each has been timed once more.

    Returns:
        The figures, one a codec.

    Raises:
        SettingsError: A spec is wrong.
        CodecError: A codec cannot take the tensor.
    """
    x, key = tensor.values, StreamKey()
    axes = tuple(range(2, x.ndim)) or (1,)
    trials = [_try(spec, tensor, key) for spec in specs]
    encoders = [partial(trial.codec.encode, x, key=key) for trial in trials]
    decoders = [partial(decode, trial.payload, max_values=x.size) for trial in trials]
    dct = partial(dctn, x, axes=axes, norm="ortho")
    best_ms = _race([x.copy, dct, *encoders, *decoders], repeat, on_turn)
    copy_ms, dct_ms, *codec_ms = best_ms
    found = []
    for trial, encode, decode_it, encode_ms, decode_ms in zip(
        trials,
        encoders,
        decoders,
        codec_ms[: len(trials)],
        codec_ms[len(trials) :],
        strict=True,
    ):
        length = len(trial.payload)
        found.append(
            Measurement(
                codec=trial.codec.spec,
                tensor=tensor.name,
                bytes=length,
                bits_per_value=8 * length / x.size,
                ratio=x.nbytes / length,
                exact=trial.exact,
                snr_db=trial.snr_db,
                encode_ms=encode_ms,
                decode_ms=decode_ms,
                dct_ms=dct_ms,
                copy_ms=copy_ms,
                encode_per_dct=encode_ms / dct_ms,
                decode_per_dct=decode_ms / dct_ms,
                encode_per_copy=encode_ms / copy_ms,
                decode_per_copy=decode_ms / copy_ms,
                encode_memory=_peak_bytes(encode) / x.nbytes,
                decode_memory=_peak_bytes(decode_it) / x.nbytes,
                over_entropy=over_entropy(trial.payload, x.size),
            )
        )
    return found


def _try(spec: str, tensor: NamedTensor, key: StreamKey) -> _Trial:
    codec, x = make_codec(spec), tensor.values
    try:
        payload = codec.encode(x, key=key)
        y = decode(payload, max_values=x.size)
    except CodecError as error:
        raise CodecError(f"tensor {tensor.name}: {error.what}", error.remedy) from error
    return _Trial(codec, payload, np.array_equal(x, y), snr_db(x, y))


def snr_db(x: np.ndarray, y: np.ndarray) -> float | None:
    """Energy of an array over the energy of the error, in dB.

    Args:
        x: The array.
        y: Its approximation, of the same shape.

    Returns:
        The ratio, or None where one of the two energies is zero.
    """
    exact = x.astype(np.float64)
    signal = float(np.sum(np.square(exact)))
    noise = float(np.sum(np.square(exact - y)))
    return 10 * math.log10(signal / noise) if signal and noise else None


def _race(
    calls: Sequence[Callable[[], Any]], repeat: int, on_turn: Callable[[], None]
) -> list[float]:
    """Best time of each call, in ms."""
    loops = [max(1, math.ceil(_LEAST_S / _seconds(call, 1))) for call in calls]
    best = [math.inf] * len(calls)
    for _ in range(repeat):
        for index, call in enumerate(calls):
            best[index] = min(best[index], _seconds(call, loops[index]) / loops[index])
        on_turn()
    return [1000 * seconds for seconds in best]


def _seconds(call: Callable[[], Any], loops: int) -> float:
    call()  # brings its data and code back into the caches
    began = time.perf_counter()
    for _ in range(loops):
        call()
    return max(time.perf_counter() - began, 1e-9)


def _peak_bytes(call: Callable[[], Any]) -> int:
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

"""From a codec that was timed on several tensors to what it costs on any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from slfac.hw_profiles.fit import spread_of
from slfac.hw_profiles.nnls import Array, nnls
from slfac.hw_profiles.schema import CodecCost, Value
from slfac.wire.errors import SettingsError

#: With fewer sizes, what a call costs cannot be told from what a byte does.
MIN_TENSORS: Final = 3
_WAYS: Final = ("encode", "decode")


@dataclass(frozen=True)
class TimedTensor:
    """A tensor that a codec was timed on.

    Attributes:
        size_bytes: Bytes of it as float32.
        encode_ms: How long encoding takes.
        decode_ms: How long decoding takes.
    """

    size_bytes: int
    encode_ms: float
    decode_ms: float


def fit_codec(
    tensors: Sequence[TimedTensor],
    *,
    spec: str,
    source: str,
    date: str = "",
    threads: int | None = None,
) -> CodecCost:
    """Fit ``t0 + bytes / speed`` each way, by least squares of relative errors.

    Args:
        tensors: What the codec was timed on.
        spec: The codec, as it calls itself.
        source: What timed it.
        date: When.
        threads: With how many threads.

    Returns:
        The cost. Its spread is that of the worse way: each size was left out once and predicted
        from the others.

    Raises:
        SettingsError: There are fewer than :data:`MIN_TENSORS` sizes, or a time is not above zero.
    """
    sizes = np.array([tensor.size_bytes for tensor in tensors], dtype=float)
    count = len(set(sizes.tolist()))
    if count < MIN_TENSORS:
        raise SettingsError(
            f"codec {spec} was timed on {count} sizes of tensors", f"take {MIN_TENSORS} or more"
        )
    fields, spreads = {}, []
    for way in _WAYS:
        times = np.array([getattr(tensor, f"{way}_ms") for tensor in tensors], dtype=float)
        if not (np.isfinite(times).all() and (times > 0).all()):
            raise SettingsError(f"codec {spec}: a time is not above zero", "measure longer")
        t0_ms, ms_per_byte = _solve(sizes, times)
        spreads.append(_spread(sizes, times))
        # A byte in a millisecond is 1000 bytes a second.
        fields[f"{way}_mbs"] = 1e-3 / ms_per_byte
        if t0_ms > 0:
            fields[f"{way}_t0_ms"] = t0_ms
    fields["spread"] = max(spreads)
    said = f"{source}: fit over {len(tensors)} tensors"
    return CodecCost(
        spec=spec,
        threads=threads,
        **{
            name: Value(
                value=float(f"{number:.6g}"),
                kind="calibrated",
                source=said,
                runs=len(tensors),
                date=date,
            )
            for name, number in fields.items()
        },
    )


def _solve(sizes: Array, times: Array) -> tuple[float, float]:
    """Milliseconds of a call, and of a byte."""
    rows = np.stack([np.ones_like(sizes), sizes], axis=1) / times[:, None]
    t0_ms, ms_per_byte = nnls(rows, np.ones_like(times)).tolist()
    if ms_per_byte > 0:
        return t0_ms, ms_per_byte
    # Bytes did not tell: then a call costs nothing, and they cost all there is.
    (alone,) = nnls(rows[:, 1:], np.ones_like(times)).tolist()
    return 0.0, alone


def _spread(sizes: Array, times: Array) -> float:
    residuals: list[float] = []
    for size in set(sizes.tolist()):
        same = sizes == size
        t0_ms, ms_per_byte = _solve(sizes[~same], times[~same])
        predicted = t0_ms + ms_per_byte * sizes[same]
        residuals += np.log(times[same] / predicted).tolist()
    return spread_of(residuals)

"""From stored values to a model's input, batch by batch."""

from __future__ import annotations

import numpy as np

from slfac.wire.errors import DataError
from slfac.wire.manifest import Preprocessing


def apply(preprocessing: Preprocessing, x: np.ndarray) -> np.ndarray:
    """Scale and normalise a batch: ``(x * scale - mean) / std`` per channel.

    Computed as one multiplication and one subtraction with float32 factors, which device
    and server share, so that both see the same bits.

    Args:
        preprocessing: The bundle's factors.
        x: ``(B, C, ...)``, ``(B, D)`` or ``(B,)``, uint8 or float32.

    Returns:
        A new C-contiguous float32 array of the same shape.

    Raises:
        DataError: ``mean`` or ``std`` has neither one value nor one a channel.
    """
    multiplier, offset = factors(preprocessing, x.shape)
    out = np.empty(x.shape, np.float32)
    np.multiply(x, multiplier, out=out)
    if np.any(offset):
        out -= offset
    return out


def factors(preprocessing: Preprocessing, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """What a batch is multiplied by, and what is then subtracted from it.

    Args:
        preprocessing: The bundle's factors.
        shape: The batch's shape, ``(B, C, ...)``, ``(B, D)`` or ``(B,)``.

    Returns:
        Multiplier and offset, float32, which broadcast over the batch.

    Raises:
        DataError: ``mean`` or ``std`` has neither one value nor one a channel.
    """
    mean = _per_channel("mean", preprocessing.mean, shape)
    std = _per_channel("std", preprocessing.std, shape)
    return (preprocessing.scale / std).astype(np.float32), (mean / std).astype(np.float32)


def _per_channel(field: str, values: tuple[float, ...], shape: tuple[int, ...]) -> np.ndarray:
    """Values that broadcast over axis 1."""
    channels = shape[1] if len(shape) > 1 else 1
    if len(values) not in (1, channels):
        raise DataError(
            f"preprocessing.{field} has {len(values)} values for {channels} channels",
            "export the bundle with one value, or one a channel",
        )
    return np.array(values, np.float64).reshape(-1, *(1,) * max(len(shape) - 2, 0))

"""One step size for the whole tensor, with a dead zone that widens where a code is dear.

Spreading the error evenly over all coefficients is optimal where the rate allows it (reverse
water-filling; Cover and Thomas, "Elements of Information Theory", 10.3); below, a coefficient
is worth a code only if what it takes off the error outweighs its bits. So a code of one is
dropped where its context makes it expensive (rate-distortion optimised quantisation).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from slfac.codec.rd.contexts import ContextMap, half_octaves
from slfac.codec.rd.sets import bounds_of
from slfac.codec.rd.sparse import THRESHOLD, Sparse, joined, magnitudes_of

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.signedinteger]

# Measured on captured activations and gradients at 8 to 12 dB.
STEP_SQUARES_A_BIT = 0.13
CODED_ERROR = 0.08
_VALUE_OF_ONE = 0.95
# What a code of one costs beside its place: sign, and not being larger.
_BITS_BESIDE_PLACE = 2.0
_LEVELS = 3


def quantise(coefficients: Iterable[Floats], step: float) -> Sparse:
    """Find what lies beyond the dead zone.

    Args:
        coefficients: ``(maps, size)`` float32, in blocks.
        step: The step size, positive.

    Returns:
        What gets a code.
    """
    least, per_step = dead_zone(step)
    return joined(_beyond_dead_zone(block, least, per_step) for block in coefficients)


def dead_zone(step: float) -> tuple[np.float32, np.float32]:
    """Where the dead zone ends.

    Args:
        step: The step size, positive; rounded to float32.

    Returns:
        The least magnitude that gets a code, and what to multiply a coefficient by to have it
        in steps.
    """
    rounded = np.float32(step)
    return np.float32(THRESHOLD * float(rounded)), np.float32(1 / rounded)


def _beyond_dead_zone(block: Floats, least: np.float32, per_step: np.float32) -> Sparse:
    beyond = block >= least
    beyond |= block <= -least
    flat = np.flatnonzero(beyond)
    starts = np.arange(0, block.size + 1, block.shape[1])
    by_map = np.diff(np.searchsorted(flat, starts))
    ratios = block.reshape(-1).take(flat)
    ratios *= per_step
    flat -= np.repeat(starts[:-1], by_map)
    return Sparse(by_map, flat.astype(np.int32), ratios)


def drop_dear_ones(sparse: Sparse, contexts: ContextMap) -> tuple[Sparse, npt.NDArray[np.float64]]:
    """Drop the codes of one that cost more than they are worth.

    Args:
        sparse: The codes.
        contexts: The contexts that their classes give.

    Returns:
        Those worth sending; and for each map, the bits that they are worth beyond their own.
    """
    context = contexts.context_of_cell
    by_cell = np.zeros(len(context), np.int64)
    for maps, part in sparse.parts():
        cells = contexts.cells(maps, part.by_map, part.positions)
        by_cell += np.bincount(cells, minlength=len(context))
    counts = np.bincount(context, weights=by_cell, minlength=len(contexts.sizes)).astype(np.int64)
    rarity = half_octaves(contexts.sizes // np.maximum(counts, 1) + 1)
    worth, price = _WORTH[rarity][context], _PRICE[rarity][context]
    kept, saved = [], []
    for maps, part in sparse.parts():
        cells = contexts.cells(maps, part.by_map, part.positions)
        wanted = np.flatnonzero(np.abs(part.ratios) >= worth.take(cells))
        kept.append(part.only(wanted))
        squares = np.square(kept[-1].ratios)
        squares -= price.take(cells.take(wanted))
        sums = np.concatenate((np.zeros(1), np.cumsum(squares, dtype=np.float64)))
        saved.append(np.diff(sums[bounds_of(kept[-1].by_map)]))
    return joined(kept), np.concatenate(saved) / STEP_SQUARES_A_BIT


def reconstruction_offsets(sparse: Sparse) -> tuple[int, ...]:
    """Where values of code 1, 2 and more lie within their interval, on average.

    Args:
        sparse: The codes.

    Returns:
        Three numbers from 0 to 255; 128 is the middle.
    """
    sums, counts = np.zeros(_LEVELS), np.zeros(_LEVELS, np.int64)
    for _, part in sparse.parts():
        ratios = np.abs(part.ratios)
        magnitudes = magnitudes_of(ratios)
        above = ratios - magnitudes
        large = np.flatnonzero(magnitudes > 1)
        level = np.minimum(magnitudes.take(large), _LEVELS).astype(np.int64) - 1
        larger = np.bincount(level, minlength=_LEVELS)
        # Most are ones; these sums are exact in float64, so that differences are too.
        sums += np.bincount(level, weights=above.take(large), minlength=_LEVELS)
        sums[0] += above.sum(dtype=np.float64) - above.take(large).sum(dtype=np.float64)
        counts += larger
        counts[0] += len(above) - len(large)
    means = sums / np.maximum(counts, 1)
    return tuple(int(v) for v in np.clip(np.rint(128 + 256 * means), 0, 255))


def dequantise(codes: Integers, offsets: tuple[int, ...], step: float) -> Floats:
    """Values of codes.

    Args:
        codes: ``(count,)``, none zero.
        offsets: See :func:`reconstruction_offsets`.
        step: The step size.

    Returns:
        ``(count,)`` float32.
    """
    shift = (np.array(offsets, np.float32) - 128) / 256
    magnitudes = np.abs(codes)
    values = magnitudes.astype(np.float32)
    np.minimum(magnitudes, _LEVELS, out=magnitudes)
    magnitudes -= 1
    values += shift.take(magnitudes)
    values *= np.float32(step)
    return np.copysign(values, codes, dtype=np.float32)


def _price() -> npt.NDArray[np.float64]:
    # Of a code, by half octaves of what it is one of.
    return STEP_SQUARES_A_BIT * (np.arange(64) / 2 + _BITS_BESIDE_PLACE)


def _worth() -> Floats:
    # Dropping u**2 - (u - r)**2 of error against bits: u >= (r**2 + price) / (2 * r).
    price = _price()
    least = (_VALUE_OF_ONE**2 + price) / (2 * _VALUE_OF_ONE)
    # What gets a code of two or more is always kept.
    return np.clip(least, THRESHOLD, 1 + THRESHOLD).astype(np.float32)


_WORTH = _worth()
# With the error that is left of what has a code.
_PRICE = (CODED_ERROR + _price()).astype(np.float32)

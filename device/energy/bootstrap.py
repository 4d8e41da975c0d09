"""Intervals by resampling blocks of steps."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from slfac.device.energy.phases import Timeline
from slfac.device.energy.regress import Fit
from slfac.device.energy.trace import PowerTrace

LEVEL = 0.95
_REPLICATES = 250
_CHUNK = 50
# Blocks are long beside a window, so that readings of different blocks see different steps; more
# blocks than this would only cost time.
_WINDOWS_PER_BLOCK = 4.0
_MOST_BLOCKS = 100


@dataclass(frozen=True)
class Blocks:
    """Readings in groups that are resampled together.

    Attributes:
        first: Number of the first reading of each block, ``(B,)``; blocks follow one another.
        stepping: Whether a block is of steps, and not of the time around them, ``(B,) bool``.
        steps: Steps in a block.
    """

    first: np.ndarray
    stepping: np.ndarray
    steps: int


@dataclass(frozen=True)
class Intervals:
    """Linear functions of the coefficients, each with an interval around it.

    Attributes:
        value: ``(K,)``.
        half: Half of the 95 % interval's width.
        believed: What of it comes from prior belief: one standard deviation.
    """

    value: np.ndarray
    half: np.ndarray
    believed: np.ndarray


def make_blocks(timeline: Timeline, trace: PowerTrace, fitted: Fit) -> Blocks:
    """Group readings by the steps they saw.

    Args:
        timeline: The steps; there is at least one.
        trace: The readings.
        fitted: What the model leaves of them: where that stays the same from block to block,
            blocks must be longer.

    Returns:
        The blocks. Time outside of steps is cut into pieces as long as a block of steps.
    """
    middle = trace.t_s - fitted.lag_s - trace.window_s / 2
    count = len(timeline.steps)
    length = float(timeline.steps[-1, 1] - timeline.steps[0, 0]) / count
    least = max(
        1,
        math.ceil(_WINDOWS_PER_BLOCK * float(np.median(trace.window_s)) / length),
        math.ceil(count / _MOST_BLOCKS),
    )
    return _group(timeline, middle, least, length)


def _group(timeline: Timeline, middle_s: np.ndarray, steps: int, length_s: float) -> Blocks:
    begin, finish = float(timeline.steps[0, 0]), float(timeline.steps[-1, 1])
    piece = steps * length_s
    edges = [
        np.arange(begin - piece, timeline.begin_s, -piece)[::-1],
        timeline.steps[::steps, 0],
        np.arange(finish, timeline.end_s, piece),
    ]
    label = np.searchsorted(np.concatenate(edges), middle_s, side="right")
    first = np.flatnonzero(np.diff(label, prepend=-1))
    stepping = (middle_s[first] >= begin) & (middle_s[first] < finish)
    return Blocks(first, stepping, steps)


def intervals(
    fitted: Fit, watts: np.ndarray, blocks: Blocks, functions: np.ndarray, seed: int
) -> Intervals:
    """Values of linear functions with studentised bootstrap intervals.

    Each replicate draws as many blocks as there are, with replacement, fits again, and notes by
    how many of its own standard errors it is off. Beliefs are drawn anew as well: what
    the data cannot tell about profiles inside phases widens the intervals.

    Args:
        fitted: The model.
        watts: The readings it was fitted to.
        blocks: Their blocks.
        functions: One row of weights of the coefficients a function, ``(K, P)``.
        seed: Of the resampling.
    """
    grams, moments = _sums(fitted, watts, blocks)
    count, size = moments.shape
    ridge = np.diag(fitted.precision)
    pull = fitted.precision * fitted.prior_mean
    gram, moment = grams.sum(axis=0) + ridge, moments.sum(axis=0) + pull
    inverse = np.linalg.inv(gram)
    value = functions @ (inverse @ moment)
    spread = functions @ inverse
    # By leaving out each block in turn: a few blocks may be all that tells of a short phase.
    others = np.linalg.inv(gram - grams)
    moved = np.einsum("bpq,bq->bp", others, moment - moments) @ functions.T - value
    error = np.sqrt((count - 1) / count * np.sum(moved**2, axis=0) * _memory(moved))
    # A coefficient's prior variance is noise / precision; noise is that of one reading.
    noise = float(np.var(watts - fitted.columns @ (inverse @ moment)))
    believed = np.sqrt(noise * (spread**2 @ fitted.precision))
    unbiased = np.sqrt(count / max(count - 1, 1))
    rng = np.random.default_rng(seed)
    off = []
    for _ in range(0, _REPLICATES, _CHUNK):
        weights = _draw(blocks.stepping, rng)
        inverses = np.linalg.inv(
            (weights @ grams.reshape(count, -1)).reshape(-1, size, size) + ridge
        )
        betas = np.einsum("rpq,rq->rp", inverses, weights @ moments + pull)
        # One product of matrices, and contiguous operands for the next: four times as fast.
        fits = (grams.reshape(-1, size) @ betas.T).reshape(count, size, -1)
        left = np.ascontiguousarray(np.transpose(moments[:, :, None] - fits, (2, 0, 1)))
        influence = left @ np.ascontiguousarray(np.swapaxes(functions @ inverses, 1, 2))
        errors = unbiased * np.sqrt(np.einsum("rb,rbk->rk", weights, influence**2))
        off.append((betas @ functions.T - value) / np.maximum(errors, 1e-12))
    t = np.concatenate(off)
    drawn = np.abs(t * error + rng.standard_normal(t.shape) * believed)
    return Intervals(value, np.quantile(drawn, LEVEL, axis=0), believed)


def _memory(influence: np.ndarray) -> np.ndarray:
    """How much more a sum varies than one of independent blocks, ``(K,)``; 1 at least.

    Slow noise makes neighbours alike. Newey and West's sum (Econometrica 55, 1987) over
    1.5 B^(1/3) neighbours of B blocks; where neighbours differ by more than chance, as where a
    block's gain is the next one's loss, nothing is taken off.
    """
    reach = min(math.ceil(1.5 * len(influence) ** (1 / 3)), len(influence) - 1)
    own = np.maximum(np.sum(influence**2, axis=0), 1e-300)
    alike = np.zeros_like(own)
    for j in range(1, reach + 1):
        alike += (1 - j / (reach + 1)) * np.sum(influence[j:] * influence[:-j], axis=0)
    return np.asarray(np.maximum(1.0, 1 + 2 * alike / own))


def _sums(fitted: Fit, watts: np.ndarray, blocks: Blocks) -> tuple[np.ndarray, np.ndarray]:
    """Normal equations of each block: ``(B, P, P)`` and ``(B, P)``."""
    parts = list(zip(blocks.first, np.append(blocks.first[1:], len(watts)), strict=True))
    own = [fitted.columns[begin:end] for begin, end in parts]
    grams = np.stack([part.T @ part for part in own])
    moments = np.stack([part.T @ watts[a:b] for part, (a, b) in zip(own, parts, strict=True)])
    return grams, moments


def _draw(stepping: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """How often each replicate holds each block; blocks of steps stand in for one another only."""
    weights = np.zeros((_CHUNK, len(stepping)))
    for kind in (stepping, ~stepping):
        count = int(kind.sum())
        if count:
            weights[:, kind] = rng.multinomial(count, np.full(count, 1 / count), size=_CHUNK)
    return weights

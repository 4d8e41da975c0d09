"""Least squares over blocks of a measurement, with intervals by resampling them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

LEVEL: Final = 0.95
_REPLICATES: Final = 2000
# Beyond this ratio of singular values, what the smaller ones say is rounding and luck.
_WORST_CONDITION: Final = 1e4
_LEAST: Final = 1e-300
_RIDGE: Final = 1e-12


@dataclass(frozen=True)
class BlockFit:
    """What was fitted.

    Attributes:
        value: Each function of the coefficients, ``(K,)``; NaN where the blocks do not tell it.
        half: Half of its 95 % interval's width, ``(K,)``; infinite there.
        left: What the model leaves of each block, ``(B,)``.
        condition: Ratio of the largest to the smallest singular value, columns scaled to one.
    """

    value: np.ndarray
    half: np.ndarray
    left: np.ndarray
    condition: float


def fit_blocks(
    columns: np.ndarray,
    values: np.ndarray,
    kinds: np.ndarray,
    functions: np.ndarray,
    *,
    seed: int = 0,
) -> BlockFit:
    """Fit ``values = columns @ coefficients`` and give functions of the coefficients.

    Intervals are those of a studentised bootstrap: each replicate draws as many blocks of each
    kind as there are, with replacement, fits again, and notes by how many of its own standard
    errors it is off. Standard errors are those that allow blocks to differ in noise (HC3;
    MacKinnon and White, Journal of Econometrics 29, 1985).

    Args:
        columns: ``(B, P)``.
        values: ``(B,)``.
        kinds: Which blocks are alike, ``(B,)`` of whole numbers.
        functions: One row of weights of the coefficients a function, ``(K, P)``.
        seed: Of the resampling.
    """
    scale = np.maximum(np.sqrt(np.sum(columns**2, axis=0)), _LEAST)
    x, weights = columns / scale, functions / scale
    _, singular, rows = np.linalg.svd(x, full_matrices=True)
    singular = np.pad(singular, (0, len(rows) - len(singular)))
    told = singular > singular[0] / _WORST_CONDITION
    # In the directions that blocks tell, the fit is as good as any.
    basis = rows[told].T
    known = _within(weights, basis)
    x, weights = x @ basis, weights @ basis
    fitted = _Fitted.of(x, values)
    value = weights @ fitted.coefficients
    leverage = np.einsum("bp,pq,bq->b", x, fitted.inverse, x)
    shifted = fitted.left / np.maximum(1 - leverage, 1e-9)
    error = np.sqrt(np.sum((x @ fitted.inverse @ weights.T * shifted[:, None]) ** 2, axis=0))
    half = _studentised(x, values, kinds, weights, seed) * np.maximum(error, _LEAST)
    condition = float(singular[0] / max(singular[-1], _LEAST))
    return BlockFit(
        np.where(known, value, np.nan), np.where(known, half, np.inf), fitted.left, condition
    )


@dataclass(frozen=True)
class _Fitted:
    coefficients: np.ndarray
    inverse: np.ndarray
    left: np.ndarray

    @staticmethod
    def of(x: np.ndarray, values: np.ndarray) -> _Fitted:
        inverse = np.linalg.inv(x.T @ x)
        coefficients = inverse @ (x.T @ values)
        return _Fitted(coefficients, inverse, values - x @ coefficients)


def _within(weights: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Whether each function lies in the space that a basis spans, ``(K,) bool``."""
    outside = weights - weights @ basis @ basis.T
    norms = np.sqrt(np.sum(weights**2, axis=1))
    return np.asarray(np.sqrt(np.sum(outside**2, axis=1)) <= 1e-3 * norms)


def _studentised(
    x: np.ndarray, values: np.ndarray, kinds: np.ndarray, weights: np.ndarray, seed: int
) -> np.ndarray:
    """By how many standard errors an estimate is off, in 95 of 100 replicates, ``(K,)``."""
    rng = np.random.default_rng(seed)
    drawn = np.zeros((_REPLICATES, len(values)))
    for kind in np.unique(kinds):
        own = kinds == kind
        count = int(own.sum())
        drawn[:, own] = rng.multinomial(count, np.full(count, 1 / count), size=_REPLICATES)
    # What is left of fewer blocks than that says nothing of the noise.
    drawn = drawn[np.count_nonzero(drawn, axis=1) >= x.shape[1] + 2]
    if not len(drawn):
        return np.full(len(weights), np.inf)
    grams = np.einsum("rb,bp,bq->rpq", drawn, x, x, optimize=True)
    # Draws that tell a direction not at all would have no inverse.
    ridge = _RIDGE * np.trace(x.T @ x) * np.eye(x.shape[1])
    inverses = np.linalg.inv(grams + ridge)
    moments = drawn @ (x * values[:, None])
    fits = np.einsum("rpq,rq->rp", inverses, moments)
    left = values - fits @ x.T
    influence = np.einsum("bp,rpq,kq->rbk", x, inverses, weights, optimize=True) * left[:, :, None]
    errors = np.sqrt(np.einsum("rb,rbk->rk", drawn, influence**2))
    # As the residuals of a fit are smaller than what it was disturbed by.
    count, size = x.shape
    errors *= np.sqrt(count / max(count - size, 1))
    truth = weights @ _Fitted.of(x, values).coefficients
    # Draws of a few blocks a kind, around their own mean, scatter less than such blocks do.
    few = np.sqrt(count / max(count - len(np.unique(kinds)), 1))
    off = few * np.abs(fits @ weights.T - truth) / np.maximum(errors, _LEAST)
    return np.asarray(np.quantile(off, LEVEL, axis=0))

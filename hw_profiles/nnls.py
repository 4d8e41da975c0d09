"""Least squares in which no coefficient is below zero: nothing takes less than no time."""

from __future__ import annotations

import numpy as np

Array = np.ndarray
_TOLERANCE = 1e-10


def nnls(a: Array, b: Array) -> Array:
    """Solve ``min |a x - b|`` for ``x >= 0``, by the active sets of Lawson and Hanson (1974).

    Args:
        a: ``(rows, columns) float64``.
        b: ``(rows,) float64``.

    Returns:
        ``x``, ``(columns,) float64``. What the rows cannot tell is zero.
    """
    scale = np.linalg.norm(a, axis=0)
    used = scale > 0
    scale = np.where(used, scale, 1.0)
    a = a / scale
    columns = a.shape[1]
    x = np.zeros(columns)
    free = np.zeros(columns, dtype=bool)
    least = _TOLERANCE * max(float(np.linalg.norm(b)), 1e-300)
    for _ in range(3 * columns + 1):
        slope = a.T @ (b - a @ x)
        waiting = used & ~free & (slope > least)
        if not waiting.any():
            break
        free[np.argmax(np.where(waiting, slope, -np.inf))] = True
        x = _inside(a, b, x, free)
    return x / scale


def _inside(a: Array, b: Array, x: Array, free: Array) -> Array:
    """Least squares over the free columns, of which those that would fall below zero are fixed."""
    while True:
        target = np.zeros_like(x)
        target[free] = np.linalg.lstsq(a[:, free], b, rcond=None)[0]
        below = free & (target <= 0)
        if not below.any():
            return target
        step = np.min(x[below] / np.maximum(x[below] - target[below], 1e-300))
        x = x + step * (target - x)
        free &= ~(below & (x <= _TOLERANCE))
        x[~free] = 0.0

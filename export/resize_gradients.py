"""Operators that copy values from place to place, and their gradients, as ONNX has them.

Each is a matrix along one axis; the gradient is a product with that matrix, transposed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from slfac.export.pool_gradients import max_pool2d_backward

aten: Any = torch.ops.aten


def replication_pad_backward(grad: Tensor, x: Tensor, padding: Sequence[int]) -> Tensor:
    """Stands for ``aten.replication_pad1d_backward`` and ``replication_pad2d_backward``.

    Returns:
        Gradient of the input.
    """
    for axis in range(len(padding) // 2):
        size, before = x.shape[-1 - axis], padding[2 * axis]
        read = [min(max(i - before, 0), size - 1) for i in range(grad.shape[-1 - axis])]
        grad = _back_along(grad, read, size, -1 - axis)
    return grad


def adaptive_max_pool2d(x: Tensor, output_size: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Stands for ``aten.adaptive_max_pool2d``.

    Returns:
        The maxima, and something in the place of their indices, which only
        :func:`adaptive_max_pool2d_backward` gets, and it does not need them.
    """
    kernel = [len(windows[0]) for windows in _windows(x, output_size)]
    largest: Tensor = aten.max_pool2d_with_indices(_spread_out(x, output_size), kernel, kernel)[0]
    return largest, largest.detach().to(torch.int64)


def adaptive_max_pool1d(x: Tensor, output_size: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Stands for ``aten.adaptive_max_pool1d``, as :func:`adaptive_max_pool2d` does for its own."""
    largest, indices = adaptive_max_pool2d(x.unsqueeze(2), [1, *output_size])
    return largest.squeeze(2), indices.squeeze(2)


def adaptive_max_pool2d_backward(grad: Tensor, x: Tensor, indices: Tensor) -> Tensor:
    """Stands for ``aten.adaptive_max_pool2d_backward``, whose arguments it has.

    The first largest value of each window, row by row, takes the gradient, as in torch.

    Returns:
        Gradient of the input.
    """
    spread = _spread_out(x, grad.shape[2:])
    rows, columns = _windows(x, grad.shape[2:])
    kernel = [len(rows[0]), len(columns[0])]
    spread_grad = max_pool2d_backward(grad, spread, kernel, kernel, [0, 0], [1, 1], False, indices)
    for axis, windows in ((2, rows), (3, columns)):
        spread_grad = _back_along(spread_grad, _all(windows), x.shape[axis], axis - 4)
    return spread_grad


def _windows(x: Tensor, output_size: Sequence[int]) -> list[list[list[int]]]:
    """For both axes, what each output sees; short windows see their last value again."""
    found = []
    for size, count in zip(x.shape[2:], output_size, strict=True):
        ends = [(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]
        longest = max(end - start for start, end in ends)
        found.append([[min(start + i, end - 1) for i in range(longest)] for start, end in ends])
    return found


def _spread_out(x: Tensor, output_size: Sequence[int]) -> Tensor:
    """The input with the windows side by side, none overlapping."""
    for axis, windows in enumerate(_windows(x, output_size), start=2):
        if _all(windows) != list(range(x.shape[axis])):
            # Slices, for torch.export takes no tensor that is made here.
            x = torch.cat([x.narrow(axis, i, 1) for window in windows for i in window], axis)
    return x


def _all(windows: list[list[int]]) -> list[int]:
    return [place for window in windows for place in window]


def _back_along(grad: Tensor, read: Sequence[int], size: int, axis: int) -> Tensor:
    """Add each value of one axis, -1 or -2, to the place that it was read from."""
    if list(read) == list(range(size)):
        return grad
    rows = [[float(place == source) for place in range(size)] for source in read]
    matrix = torch.tensor(rows).to(grad.dtype)
    if axis == -1:
        return torch.matmul(grad, matrix)
    return torch.matmul(matrix.t(), grad)

"""Two-dimensional poolings and their gradients, with operators that ONNX has."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

aten: Any = torch.ops.aten


def max_pool2d_backward(  # noqa: PLR0917
    grad: Tensor,
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
    indices: Tensor,
) -> Tensor:
    """Stands for ``aten.max_pool2d_with_indices_backward``, whose arguments it has.

    The first largest value of each window, row by row, takes the gradient, as in torch.
    onnxruntime's MaxPool with indices is some 20 times slower than without, so the maximum
    is followed back instead: over the rows of a window to the first row that has it, and
    within that row to the first column. Measured in onnxruntime, matrix products with
    constants of 0 and 1 pick and place columns faster than strided slices do.

    Returns:
        Gradient of the input.
    """
    del indices
    kernel, stride, padding, dilation = map(_pair, (kernel, stride or kernel, padding, dilation))
    seen = [
        _seen(*geometry)
        for geometry in zip(
            grad.shape[2:], x.shape[2:], kernel, stride, padding, dilation, strict=True
        )
    ]
    pickers = [_one_hot([row], x.shape[3]).to(x.dtype) for row in seen[1]]
    columns = [torch.matmul(x, picker.t()) for picker in pickers]
    across = [[1, kernel[1]], [1, stride[1]], [0, padding[1]], [1, dilation[1]]]
    widest = aten.max_pool2d_with_indices(x, *across, ceil_mode)[0]
    rows = [torch.index_select(widest, 2, torch.tensor(row)) for row in seen[0]]
    largest = aten.max_pool2d_with_indices(x, kernel, stride, padding, dilation, ceil_mode)[0]
    shares = _shares(grad, rows, largest)
    if kernel[0] == stride[0] and padding[0] == 0 and x.shape[2] == kernel[0] * grad.shape[2]:
        grad_widest = torch.stack(shares, 3).reshape(widest.shape)
    else:
        grad_widest = _to_rows(shares, seen[0], x.shape[2])
    shares = _shares(grad_widest, columns, widest)
    return torch.matmul(torch.cat(shares, 3), _one_hot(seen[1], x.shape[3]).to(grad.dtype))


def _seen(  # noqa: PLR0917
    output: int, size: int, kernel: int, stride: int, padding: int, dilation: int
) -> list[list[int]]:
    """Along one axis, for each position of a kernel: what each window sees there.

    A position outside the input is given the nearest of the same window inside, which
    changes neither the maximum nor which value is the first that has it.
    """
    windows = [[o * stride - padding + k * dilation for k in range(kernel)] for o in range(output)]
    inside = [[place for place in window if 0 <= place < size] for window in windows]
    return [
        [
            min(max(window[k], places[0]), places[-1])
            for window, places in zip(windows, inside, strict=True)
        ]
        for k in range(kernel)
    ]


def _one_hot(seen: list[list[int]], size: int) -> Tensor:
    """``(positions * outputs, size)``: a one in each row, at the place that is seen."""
    places = torch.tensor(seen).reshape(-1, 1)
    return (places == torch.arange(size)).float()


def _to_rows(shares: list[Tensor], seen: list[list[int]], size: int) -> Tensor:
    """The sum of what each row is given: by one window's row, or several, or none.

    Picking whole rows and adding takes half the time of a product with ones and zeros.
    """
    outputs = len(seen[0])
    given: list[list[int]] = [[] for _ in range(size)]
    for share, row in enumerate(seen):
        for output, place in enumerate(row):
            given[place].append(share * outputs + output)
    nothing = len(seen) * outputs
    stacked = torch.cat([*shares, torch.zeros_like(shares[0][:, :, :1])], 2)
    picked = [
        torch.index_select(stacked, 2, torch.tensor(picks))
        for picks in itertools.zip_longest(*given, fillvalue=nothing)
    ]
    return functools.reduce(torch.add, picked)


def _shares(grad: Tensor, candidates: list[Tensor], largest: Tensor) -> list[Tensor]:
    """The gradient, given to the first of the candidates that is the largest, else zeros."""
    shares = []
    for candidate in candidates[:-1]:
        share = grad * (candidate == largest).to(grad.dtype)
        # Each value goes over whole or not at all, so the difference is exact.
        grad = grad - share
        shares.append(share)
    return [*shares, grad]


def avg_pool2d(  # noqa: PLR0917
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    """Stands for ``aten.avg_pool2d``, whose arguments it has, where it has a divisor of its own.

    torch's exporter leaves that divisor out.

    Returns:
        The sums over the windows, divided; ``NotImplemented`` where nothing must stand for it.
    """
    if divisor_override is None:
        return NotImplemented
    del count_include_pad  # it chooses a divisor
    kernel, stride, padding = map(_pair, (kernel, stride or kernel, padding))
    pads = []
    for h, k, s, p in zip(x.shape[2:], kernel, stride, padding, strict=True):
        last = (h + 2 * p - k + (s - 1 if ceil_mode else 0)) // s
        # The last window must start within the input or the padding before it.
        last -= last * s >= h + p
        pads.append([p, p + max(last * s + k - h - 2 * p, 0)])
    means = aten.avg_pool2d(aten.constant_pad_nd(x, [*pads[1], *pads[0]]), kernel, stride)
    return means * (kernel[0] * kernel[1] / divisor_override)


def avg_pool2d_backward(  # noqa: PLR0917
    grad: Tensor,
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Tensor:
    """Stands for ``aten.avg_pool2d_backward``, whose arguments it has.

    Returns:
        Gradient of the input.
    """
    del ceil_mode  # it shows in the shape of grad
    kernel, stride, padding = map(_pair, (kernel, stride or kernel, padding))
    matrices = []
    for o, h, k, s, p in zip(grad.shape[2:], x.shape[2:], kernel, stride, padding, strict=True):
        starts = [i * s - p for i in range(o)]
        ends = [min(start + k, h + p) for start in starts]
        inside = [(max(a, 0), min(b, h)) for a, b in zip(starts, ends, strict=True)]
        counted = list(zip(starts, ends, strict=True)) if count_include_pad else inside
        counts = [1 if divisor_override else b - a for a, b in counted]
        matrices.append(_window_means(inside, counts, h))
    whole = _spread(grad, matrices)
    return whole / divisor_override if divisor_override else whole


def adaptive_avg_pool2d_backward(grad: Tensor, x: Tensor) -> Tensor:
    """Stands for ``aten._adaptive_avg_pool2d_backward``, whose arguments it has.

    Returns:
        Gradient of the input.
    """
    matrices = []
    for o, h in zip(grad.shape[2:], x.shape[2:], strict=True):
        windows = [(i * h // o, -(-(i + 1) * h // o)) for i in range(o)]
        matrices.append(_window_means(windows, [b - a for a, b in windows], h))
    return _spread(grad, matrices)


def _window_means(windows: list[tuple[int, int]], counts: list[int], size: int) -> Tensor:
    """``(outputs, size)``: row o averages the values of window o along one axis."""
    rows = [
        [1.0 / count if start <= i < end else 0.0 for i in range(size)]
        for (start, end), count in zip(windows, counts, strict=True)
    ]
    return torch.tensor(rows)


def _spread(grad: Tensor, matrices: list[Tensor]) -> Tensor:
    """Transpose of averaging over rows and then columns: two matrix products."""
    rows, columns = (matrix.to(grad.dtype) for matrix in matrices)
    return torch.matmul(torch.matmul(rows.t(), grad), columns)


def _pair(value: Sequence[int]) -> list[int]:
    return [int(v) for v in value] if len(value) == 2 else [int(value[0])] * 2

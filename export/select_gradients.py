"""Gradient of taking one entry along an axis, such as the queries of attention."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional


def select_backward(grad: Tensor, sizes: Sequence[int], axis: int, index: int) -> Tensor:
    """Stands for ``aten.select_backward``, whose arguments it has.

    The stock decomposition chooses between the gradient and zeros by a mask, which takes
    several times as long as padding.

    Returns:
        Gradient of the input.
    """
    axis %= len(sizes)
    if index < 0:
        index += sizes[axis]
    after = len(sizes) - 1 - axis
    pads = [0, 0] * after + [index, sizes[axis] - 1 - index]
    return functional.pad(grad.unsqueeze(axis), pads)

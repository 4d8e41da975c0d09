"""The windows that a sliding kernel sees, as strided slices."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def window_slices(
    padded: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    output: Sequence[int],
) -> list[Tensor]:
    """What each position of a kernel sees, row by row.

    Args:
        padded: ``(B, C, H, W)``, padded already.
        kernel: Height and width of the kernel.
        stride: Steps between outputs.
        dilation: Steps between positions of the kernel.
        output: Height and width of the output.

    Returns:
        One ``(B, C, *output)`` for each position.
    """
    spans = [(size - 1) * step + 1 for size, step in zip(output, stride, strict=True)]
    rows = [
        padded[:, :, i : i + spans[0] : stride[0]]
        for i in range(0, kernel[0] * dilation[0], dilation[0])
    ]
    return [
        row[:, :, :, j : j + spans[1] : stride[1]]
        for row in rows
        for j in range(0, kernel[1] * dilation[1], dilation[1])
    ]

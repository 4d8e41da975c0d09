"""The windows that a sliding kernel sees, as strided slices."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def window_slices(  # noqa: PLR0917
    padded: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    output: Sequence[int],
    first_axis: int = 2,
) -> list[Tensor]:
    """What each position of a kernel sees, row by row.

    Args:
        padded: ``(B, C, H, W)``, or ``(B, H, W, C)``, padded already.
        kernel: Height and width of the kernel.
        stride: Steps between outputs.
        dilation: Steps between positions of the kernel.
        output: Height and width of the output.
        first_axis: Which axis of ``padded`` is the height; the width follows.

    Returns:
        One tensor for each position, of ``output`` along these two axes.
    """
    tensors = [padded]
    for axis, size, positions, step, gap in zip(
        (first_axis, first_axis + 1), output, kernel, stride, dilation, strict=True
    ):
        span = (size - 1) * step + 1
        starts = range(0, positions * gap, gap)
        before = (slice(None),) * axis
        places = [(*before, slice(at, at + span, step)) for at in starts]
        tensors = [tensor[place] for tensor in tensors for place in places]
    return tensors

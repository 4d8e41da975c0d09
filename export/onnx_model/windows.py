"""Windows of convolutions and poolings: kernel, strides, pads, and what auto_pad means."""

from __future__ import annotations

from dataclasses import dataclass

from slfac.export.onnx_model.node import Node
from slfac.export.onnx_model.values import Live


@dataclass(frozen=True)
class Window:
    """A sliding window over the spatial axes.

    Attributes:
        kernel: Its sizes.
        strides: Steps between windows.
        dilations: Steps within a window.
        pads: All beginnings, then all ends.
        sizes: Sizes of the input.
        ceil: Whether a last window may reach beyond the pads.
    """

    kernel: list[int]
    strides: list[int]
    dilations: list[int]
    pads: list[int]
    sizes: list[int]
    ceil: bool

    @property
    def overhang(self) -> list[int]:
        """How far the last window reaches beyond the padded input, on each axis.

        As in torch and onnxruntime, no window starts in the pads at the end.
        """
        beyond = []
        for i, (k, s, d) in enumerate(zip(self.kernel, self.strides, self.dilations, strict=True)):
            begin, end = self.pads[i], self.pads[i + len(self.kernel)]
            span = d * (k - 1) + 1
            padded = self.sizes[i] + begin + end
            steps = max(0, -(-(padded - span) // s) if self.ceil else (padded - span) // s)
            if self.ceil and steps * s >= self.sizes[i] + begin:
                steps -= 1
            beyond.append(max(0, steps * s + span - padded))
        return beyond


def spatial(node: Node, x: Live) -> list[int]:
    """Sizes of an input's spatial axes, of which there may be one or two."""
    if x.rank not in {3, 4}:
        node.refuse(f"has an input with {x.rank} axes; only 3 and 4 are known here")
    sizes = [x.static(axis) for axis in range(2, x.rank)]
    if any(size is None for size in sizes):
        node.refuse("has an input whose spatial size depends on the batch size")
    return [size for size in sizes if size is not None]


def read_window(node: Node, x: Live, kernel: list[int] | None) -> Window:
    """The window of a node, its pads computed.

    Args:
        node: A convolution or a pooling.
        x: Its input.
        kernel: Sizes of the kernel where a weight tells; else the attribute's.

    Returns:
        The window.

    Raises:
        ExportError: An attribute has the wrong length, or a value that makes no sense.
    """
    sizes = spatial(node, x)
    rank = len(sizes)
    kernel = list(node.attribute("kernel_shape", kernel or []))
    strides = list(node.attribute("strides", [1] * rank))
    dilations = list(node.attribute("dilations", [1] * rank))
    auto = node.attribute("auto_pad", "NOTSET")
    pads = list(node.attribute("pads", [0] * (2 * rank)))
    lists = (kernel, strides, dilations)
    if any(len(v) != rank or min(v) < 1 or max(v) > 1 << 16 for v in lists):
        node.refuse(f"has kernel {kernel}, strides {strides} and dilations {dilations}")
    if auto in {"SAME_UPPER", "SAME_LOWER"}:
        pads = _same(sizes, kernel, strides, dilations, upper=auto == "SAME_UPPER")
    elif auto == "VALID":
        pads = [0] * (2 * rank)
    elif auto != "NOTSET":
        node.refuse(f"has auto_pad {auto!r}")
    if len(pads) != 2 * rank or min(pads) < 0 or max(pads) > 1 << 16:
        node.refuse(f"has pads {pads}")
    return Window(kernel, strides, dilations, pads, sizes, bool(node.attribute("ceil_mode", 0)))


def _same(
    sizes: list[int], kernel: list[int], strides: list[int], dilations: list[int], *, upper: bool
) -> list[int]:
    """Pads that give ceil(size / stride) windows; the odd one at the end, or the beginning."""
    before, after = [], []
    for n, k, s, d in zip(sizes, kernel, strides, dilations, strict=True):
        total = max(0, (-(-n // s) - 1) * s + d * (k - 1) + 1 - n)
        small, large = total // 2, total - total // 2
        before.append(small if upper else large)
        after.append(large if upper else small)
    return before + after

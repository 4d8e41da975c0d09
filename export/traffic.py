"""Counts the bytes that operators read and write, and tells kinds of layers apart."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from slfac.wire.costs import LayerKind

aten: Any = torch.ops.aten
_GROUPS = 8  # the position of this argument of aten.convolution
_NORMS = ("batch_norm", "layer_norm", "group_norm", "rms_norm", "instance_norm")


class Traffic(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """To be entered around what is counted.

    Args:
        weights: Storage of tensors that do not count.

    Attributes:
        bytes: Of all tensors that operators read and wrote. What only looks at a tensor in
            another way reads and writes nothing.
        depthwise: Whether a convolution with a group for each channel was among them.
        norm: Whether a normalisation was among them.
    """

    def __init__(self, weights: Collection[int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._weights = weights
        self.bytes = 0
        self.depthwise = False
        self.norm = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run one operator, and count it."""
        result = func(*args, **(kwargs or {}))
        read, written = _tensors((args, kwargs or {})), _tensors(result)
        held = {_storage(tensor) for tensor in read}
        view = written and held.issuperset(map(_storage, written))
        if not view or func._schema.is_mutable:
            counted = [t for t in (*read, *written) if _storage(t) not in self._weights]
            self.bytes += sum(t.numel() * t.element_size() for t in counted)
        if func is aten.convolution.default and args[_GROUPS] > 1:
            self.depthwise |= bool(args[0].shape[1] == args[_GROUPS])
        self.norm |= any(name in func.__name__ for name in _NORMS)
        return result

    def kind(self, flops: Mapping[Any, int]) -> LayerKind:
        """What was counted, by what it mostly did.

        Args:
            flops: Operator -> operations, as torch counts them.
        """
        if not sum(flops.values()):
            return "norm" if self.norm else "other"
        if max(flops, key=lambda name: flops[name]) is not aten.convolution:
            return "matmul"
        return "depthwise" if self.depthwise else "conv"


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def _storage(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()

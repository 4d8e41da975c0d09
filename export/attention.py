"""Attention without a mask, in the few operators that it needs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class PlainAttention(TorchFunctionMode):
    """While entered, attention that masks and drops nothing is products and a softmax.

    torch's own form, which has to serve any mask, also looks for rows that are masked whole.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Stand for attention, and let all else pass."""
        del types
        kwargs = kwargs or {}
        if func is functional.scaled_dot_product_attention and len(args) == 3:
            scale = kwargs.get("scale")
            if not any(value for name, value in kwargs.items() if name != "scale"):
                return _attend(*args, scale=scale)
        return func(*args, **kwargs)


def _attend(query: Tensor, key: Tensor, value: Tensor, *, scale: float | None) -> Tensor:
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = torch.matmul(query * factor, key.transpose(-2, -1))
    return torch.matmul(torch.softmax(scores, -1), value)

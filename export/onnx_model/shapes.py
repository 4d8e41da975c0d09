"""Shapes of an operator's outputs, found by running it on tensors without storage."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from slfac.export.onnx_model.limits import MAX_ACTIVATION_VALUES, MAX_RANK
from slfac.export.onnx_model.ops import OPS
from slfac.wire.errors import ExportError


class _TooLargeError(Exception):
    """A tensor would be larger than any that a classifier has."""


class _Bounded(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Looks at every tensor that an operator makes, those within it included."""

    def __init__(self, batch: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._most = batch * MAX_ACTIVATION_VALUES

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple | list) else (result,):
            if isinstance(value, Tensor) and (value.numel() > self._most or value.dim() > MAX_RANK):
                raise _TooLargeError(f"a tensor of shape {tuple(value.shape)} is too large")
        return result


def propagate(
    where: str, op: str, inputs: Sequence[Any], attributes: Mapping[str, Any], *, batch: int
) -> list[Tensor]:
    """Run an operator on meta tensors.

    Args:
        where: Which node, for messages.
        op: The operator.
        inputs: Meta tensors, numbers and None.
        attributes: A value for each of its fields.
        batch: Samples in a batch, which the bound on sizes goes by.

    Returns:
        The outputs, on the meta device too.

    Raises:
        ExportError: torch refuses the shapes, or a tensor would be too large.
    """
    try:
        spec = OPS[op]
        if spec.check is not None:
            spec.check(inputs, attributes)
        call = spec.translate(inputs, attributes)
        with _Bounded(batch), torch.no_grad():
            result = call.function(*call.args, **call.kwargs)
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ExportError(f"{where} does not fit its inputs: {reason[:200]}") from error
    outputs = list(result) if isinstance(result, tuple | list) else [result]
    if not all(isinstance(value, Tensor) for value in outputs):
        raise ExportError(f"{where} does not fit its inputs: it has no tensor among them")
    return outputs


def meta(shape: Sequence[int]) -> Tensor:
    """A float32 tensor of a shape, without storage."""
    return torch.empty(tuple(shape), device="meta")


def size(shape: Sequence[int]) -> int:
    """Count of the values of a shape."""
    return math.prod(int(n) for n in shape)

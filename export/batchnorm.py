"""Training-mode BatchNorm as pure operations, for tracing.

torch's own operator updates its statistics in place, and its ONNX translation quietly gives
the evaluation-mode operator. ONNX's training mode keeps a biased running variance. Here
the batch statistics are plain operations, the new running statistics are outputs, and the
running variance is unbiased, exactly as in torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from slfac.wire.errors import ExportError

COUNTER = "num_batches_tracked"


class _Normalise(torch.autograd.Function):
    """``(x - mean) / std * weight + bias`` over batch and space, with its short gradient."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        axes = [0, *range(2, x.dim())]
        mean = x.mean(axes, keepdim=True)
        centred = x - mean
        variance = (centred * centred).mean(axes, keepdim=True)
        inverse = torch.rsqrt(variance + eps)
        shape = mean.shape
        scale = inverse if weight is None else weight.reshape(shape) * inverse
        ctx.save_for_backward(centred, inverse, scale)
        ctx.mark_non_differentiable(mean, variance)
        y = centred * scale
        if bias is not None:
            y = y + bias.reshape(shape)
        return y, mean.reshape(-1), variance.reshape(-1)

    @staticmethod
    def backward(
        ctx: Any, *grads: Tensor
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        centred, inverse, scale = ctx.saved_tensors
        grad = grads[0]
        axes = [0, *range(2, grad.dim())]
        count = math.prod(grad.shape[axis] for axis in axes)
        mean_grad = grad.mean(axes, keepdim=True)
        mean_product = (grad * centred).mean(axes, keepdim=True)
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[1]:
            grad_weight = (mean_product * inverse * count).reshape(-1)
        if ctx.needs_input_grad[2]:
            grad_bias = (mean_grad * count).reshape(-1)
        if ctx.needs_input_grad[0]:
            slope = mean_product * inverse * inverse
            grad_x = (grad - mean_grad - centred * slope) * scale
        return grad_x, grad_weight, grad_bias, None


class BatchStatistics(TorchFunctionMode):
    """While entered, every training-mode BatchNorm is computed by pure operations.

    Args:
        buffers: The model's buffers by name, as the model has them while it is traced.

    Attributes:
        fresh: Name of a buffer -> its new value.
    """

    def __init__(self, buffers: Mapping[str, Tensor]) -> None:
        super().__init__()
        self._names = {id(tensor): name for name, tensor in buffers.items()}
        self.fresh: dict[str, Tensor] = {}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Stand for BatchNorm, and let all else pass."""
        del types
        if func is functional.batch_norm:
            return self._batch_norm(*args, **(kwargs or {}))
        if func is Tensor.add_ and self._names.get(id(args[0]), "").endswith(COUNTER):
            return args[0]  # devices count batches themselves
        return func(*args, **(kwargs or {}))

    def _batch_norm(  # noqa: PLR0917 - the operator's own order
        self,
        x: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        """Takes what :func:`torch.nn.functional.batch_norm` takes."""
        if not training:
            return functional.batch_norm(
                x, running_mean, running_var, weight, bias, False, momentum, eps
            )
        y: Tensor
        y, mean, variance = _Normalise.apply(x, weight, bias, eps)  # type: ignore[no-untyped-call]
        count = x.shape[0] * math.prod(x.shape[2:])
        unbiased = variance * count / (count - 1)
        for old, new in ((running_mean, mean), (running_var, unbiased)):
            if old is not None:
                self._update(old, new, momentum)
        return y

    def _update(self, old: Tensor, new: Tensor, momentum: float) -> None:
        name = self._names.get(id(old))
        if name is None or name in self.fresh:
            raise ExportError(
                f"the running statistics {name or 'of a BatchNorm'} are "
                f"{'used twice in a step' if name else 'no buffers of the front'}",
                "give each call of BatchNorm a module of its own",
            )
        self.fresh[name] = old * (1 - momentum) + new * momentum

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

aten: Any = torch.ops.aten

COUNTER = "num_batches_tracked"


class _Normalise(torch.autograd.Function):
    """``(x - mean) / std * weight + bias`` over batch and space, with its short gradient.

    Each pass over a tensor counts, so what is ``x * a + b`` with one ``a`` and ``b`` a channel
    is written as the evaluation-mode operator, which takes one.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        axes = [0, *range(2, x.dim())]
        mean = x.mean(axes, keepdim=True)
        centred = x - mean
        variance = (centred * centred).mean(axes)
        mean = mean.reshape(-1)
        ctx.save_for_backward(x, mean, torch.rsqrt(variance + eps), weight)
        ctx.mark_non_differentiable(mean, variance)
        return _evaluate(x, weight, bias, mean, variance, eps), mean, variance

    @staticmethod
    def backward(
        ctx: Any, *grads: Tensor
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        x, mean, inverse, weight = ctx.saved_tensors
        grad = grads[0]
        axes = [0, *range(2, grad.dim())]
        count = math.prod(grad.shape[axis] for axis in axes)
        mean_grad = grad.mean(axes)
        # Of the gradient with the centred input.
        covariance = (grad * x).mean(axes) - mean * mean_grad
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[1]:
            grad_weight = covariance * inverse * count
        if ctx.needs_input_grad[2]:
            grad_bias = mean_grad * count
        if ctx.needs_input_grad[0]:
            # (grad - mean_grad - (x - mean) * covariance * inverse ** 2) * scale
            scale = inverse if weight is None else weight * inverse
            slope = -covariance * inverse * inverse * scale
            offset = -mean_grad * scale - mean * slope
            shape = [1, -1, *[1] * (grad.dim() - 2)]
            grad_x = grad * scale.reshape(shape) + _affine(x, slope, offset)
        return grad_x, grad_weight, grad_bias, None


def _evaluate(  # noqa: PLR0917
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor,
    variance: Tensor,
    eps: float,
) -> Tensor:
    y: Tensor = aten._native_batch_norm_legit_no_training(
        x, weight, bias, mean, variance, 0.0, eps
    )[0]
    return y


def _affine(x: Tensor, slope: Tensor, offset: Tensor) -> Tensor:
    """``x * slope + offset``, one of each a channel."""
    eps = 1e-5
    one = torch.full_like(slope, 1 - eps)
    return _evaluate(x, slope, offset, torch.zeros_like(slope), one, eps)


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

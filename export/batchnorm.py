"""Training-mode BatchNorm as pure operations, for tracing.

torch's own module updates its statistics in place, and its ONNX translation quietly gives
the evaluation-mode operator. ONNX's training mode keeps a biased running variance. Here
the batch statistics are plain operations, the new running statistics are outputs, and the
running variance is unbiased, exactly as in torch.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from slfac.wire.errors import ExportError

NewStatistics = dict[str, Tensor]


class _Normalise(torch.autograd.Function):
    """``(x - mean) / std * weight + bias`` over batch and space, with its short gradient."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        axes = [0, *range(2, x.dim())]
        mean = x.mean(axes, keepdim=True)
        centred = x - mean
        variance = (centred * centred).mean(axes, keepdim=True)
        inverse = torch.rsqrt(variance + eps)
        shape = mean.shape
        scale = weight.reshape(shape) * inverse
        ctx.save_for_backward(centred, inverse, scale)
        ctx.mark_non_differentiable(mean, variance)
        return centred * scale + bias.reshape(shape), mean.reshape(-1), variance.reshape(-1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None]:
        centred, inverse, scale = ctx.saved_tensors
        grad = grads[0]
        axes = [0, *range(2, grad.dim())]
        count = math.prod(grad.shape[axis] for axis in axes)
        mean_grad = grad.mean(axes, keepdim=True)
        mean_product = (grad * centred).mean(axes, keepdim=True)
        grad_weight = (mean_product * inverse * count).reshape(-1)
        grad_bias = (mean_grad * count).reshape(-1)
        grad_x = None
        if ctx.needs_input_grad[0]:
            slope = mean_product * inverse * inverse
            grad_x = (grad - mean_grad - centred * slope) * scale
        return grad_x, grad_weight, grad_bias, None


class TracedBatchNorm(nn.Module):
    """Stands for a BatchNorm module while its model is traced.

    Args:
        name: The module's name in the model.
        original: The module, whose parameters and buffers it takes over.
        collected: Where the new running statistics go, by buffer name.

    Raises:
        ExportError: The module has no affine parameters, no running statistics, or
            averages them cumulatively.
    """

    def __init__(self, name: str, original: _BatchNorm, collected: NewStatistics) -> None:
        super().__init__()
        if not (original.affine and original.track_running_stats) or original.momentum is None:
            raise ExportError(
                f"BatchNorm {name!r} has no affine parameters, running statistics or momentum",
                "use affine=True, track_running_stats=True and a momentum",
            )
        self._name = name
        self._momentum = float(original.momentum)
        self._eps = original.eps
        self._collected = collected
        self.weight = original.weight
        self.bias = original.bias
        self.running_mean: Tensor
        self.running_var: Tensor
        for buffer, value in original.named_buffers():
            self.register_buffer(buffer, value)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, ...)`` to the same shape, normalised with the batch's statistics."""
        y: Tensor
        y, mean, variance = _Normalise.apply(  # type: ignore[no-untyped-call]
            x, self.weight, self.bias, self._eps
        )
        count = x.shape[0] * math.prod(x.shape[2:])
        unbiased = variance * count / (count - 1)
        for buffer, old, new in (
            ("running_mean", self.running_mean, mean),
            ("running_var", self.running_var, unbiased),
        ):
            updated = old * (1 - self._momentum) + new * self._momentum
            self._collected[f"{self._name}.{buffer}"] = updated
        return y


def replace_batch_norms(model: nn.Module) -> tuple[nn.Module, NewStatistics]:
    """Copy a model with every BatchNorm replaced by its traceable stand-in.

    Args:
        model: Any model; it is not changed.

    Returns:
        The copy, with parameters and buffers named as before, and the dict that each of
        its forward passes fills: buffer name -> new value.

    Raises:
        ExportError: A BatchNorm is of a kind that cannot be traced.
    """
    collected: NewStatistics = {}
    model = copy.deepcopy(model)
    for name, module in list(model.named_modules()):
        if isinstance(module, _BatchNorm):
            model.set_submodule(name, TracedBatchNorm(name, module, collected))
    return model, collected

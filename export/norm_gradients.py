"""The gradient of weight normalisation, with operators that ONNX has."""

from __future__ import annotations

from torch import Tensor


def weight_norm_backward(
    grad: Tensor, direction: Tensor, size: Tensor, norms: Tensor, dim: int
) -> tuple[Tensor, Tensor]:
    """Stands for ``aten._weight_norm_interface_backward``, whose arguments it has.

    The weight is ``direction * size / norm``, with a norm for each index of ``dim``.

    Returns:
        Gradients of ``direction`` and ``size``.
    """
    axes = [axis for axis in range(grad.dim()) if axis != dim]
    norms = norms.to(grad.dtype)
    unit = direction / norms
    grad_size = (grad * unit).sum(axes, keepdim=True)
    return (grad - unit * grad_size) * (size / norms), grad_size

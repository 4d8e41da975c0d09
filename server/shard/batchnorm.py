"""BatchNorm over the samples of all ranks.

torch's own SyncBatchNorm refuses the CPU, and takes a module's place. Here a mode stands for
``torch.nn.functional.batch_norm``, through which every BatchNorm module goes too: modules, their
state and their names stay as they are, and so does what they do about momentum and counters.

Forward: each rank's count, mean and variance of a channel are gathered and merged (Chan, Golub and
LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1982) in
float64, in the order of ranks, so that all ranks get the same bits. Backward: with dy the gradient
of the output, x^ the normalised input and N the count over all ranks,

    dx = weight / sqrt(var + eps) * (dy - sum(dy) / N - x^ * sum(dy * x^) / N)

with both sums over all ranks; those of weight and bias are this rank's, since the gradients of all
parameters are added up afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from slfac.server.peers import Peers


class SyncedBatchNorm(TorchFunctionMode):
    """While entered, training-mode BatchNorm sees the batches of all ranks as one.

    Every rank must run the same BatchNorms in the same order, forward and backward.

    Args:
        peers: The ranks.
        counts: Whether this rank's samples count.
    """

    def __init__(self, peers: Peers, *, counts: bool) -> None:
        super().__init__()
        self._peers = peers
        self._counts = counts

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
        count, mean, var = _moments(x.detach(), self._peers, counts=self._counts)
        if count < 2:
            raise ValueError(f"BatchNorm cannot train on {count} value per channel, of all ranks")
        with torch.no_grad():
            _update(running_mean, mean, momentum)
            _update(running_var, var * (count / (count - 1)), momentum)
        gathered = mean.float(), var.float(), count, eps, self._peers, self._counts
        y: Tensor = _Normalise.apply(x, weight, bias, *gathered)  # type: ignore[no-untyped-call]
        return y


class _Normalise(torch.autograd.Function):
    """BatchNorm with given statistics, whose gradient knows that they depend on the input."""

    @staticmethod
    def forward(  # noqa: PLR0917 - autograd passes no keywords
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        var: Tensor,
        count: int,
        eps: float,
        peers: Peers,
        counts: bool,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, var)
        ctx.count, ctx.eps, ctx.peers, ctx.counts = count, eps, peers, counts
        return functional.batch_norm(x, mean, var, weight, bias, False, 0.0, eps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (dy,) = gradients
        x, weight, mean, var = ctx.saved_tensors
        # Of given statistics: dx is weight / sqrt(var + eps) * dy, and the others are the sums.
        dx, d_weight, d_bias = torch.ops.aten.native_batch_norm_backward(
            dy.contiguous(), x, weight, mean, var, None, None, False, ctx.eps, [True, True, True]
        )
        inverse = (var + ctx.eps).rsqrt()
        sums = torch.stack([d_bias, d_weight]).double()
        if not ctx.counts:
            sums.zero_()
        ctx.peers.add([sums])
        slope = inverse if weight is None else inverse * weight.float()
        of_ones, of_x = (sums / ctx.count).float()
        # Centred first: far from zero, float32 would lose what differs between samples.
        dx = torch.addcmul(
            dx - _by_channel(slope * of_ones, x),
            x - _by_channel(mean, x),
            _by_channel(slope * of_x * inverse, x),
            value=-1,
        )
        wanted = ctx.needs_input_grad
        return (
            dx.to(x.dtype) if wanted[0] else None,
            d_weight.to(weight.dtype) if wanted[1] else None,
            d_bias if wanted[2] else None,
            *(None,) * 6,
        )


def _moments(x: Tensor, peers: Peers, *, counts: bool) -> tuple[int, Tensor, Tensor]:
    """Values a channel, and their mean and biased variance ``(C,) float64``, over all ranks."""
    channels = x.shape[1]
    own = torch.zeros(1 + 2 * channels, dtype=torch.float64, device=x.device)
    if counts:
        var, mean = torch.var_mean(x.float(), [0, *range(2, x.dim())], correction=0)
        own[0] = x.numel() // channels
        own[1 : 1 + channels] = mean
        own[1 + channels :] = var
    every = torch.stack(peers.gather_tensor(own))
    weights, means, variances = torch.split(every, [1, channels, channels], 1)
    total = weights.sum()
    weights = weights / total
    mean = (weights * means).sum(0)
    var = (weights * (variances + (means - mean) ** 2)).sum(0)
    return int(total), mean, var


def _update(running: Tensor | None, fresh: Tensor, momentum: float) -> None:
    if running is not None:
        running.mul_(1 - momentum).add_(fresh.to(running.dtype), alpha=momentum)


def _by_channel(values: Tensor, x: Tensor) -> Tensor:
    return values.view(1, -1, *(1,) * (x.dim() - 2))

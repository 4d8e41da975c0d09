"""Adam and AdamW, as ``torch.optim.Adam`` and ``torch.optim.AdamW`` without AMSGrad."""

from __future__ import annotations

import math

import numpy as np

from slfac.codec.spec import format_spec
from slfac.device.optim.base import Optimizer
from slfac.device.optim.clip import NO_CLIP, Clip


class Adam(Optimizer):
    """Adam with bias correction (Kingma & Ba 2015, arXiv:1412.6980).

    Source: https://docs.pytorch.org/docs/stable/generated/torch.optim.Adam.html

    Args:
        lr: Learning rate.
        beta1: Decay of the gradient's mean.
        beta2: Decay of the squared gradient's mean.
        eps: Added to the denominator.
        weight_decay: Decay of the weights.
        decoupled: Decay the weights themselves (AdamW, Loshchilov & Hutter 2019,
            arXiv:1711.05101) rather than adding the decay to the gradient.
        clip: What gradients are held to.
    """

    slots = ("mean", "square")
    _scratch_arrays = 2

    def __init__(
        self,
        lr: float,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled: bool = False,
        clip: Clip = NO_CLIP,
    ) -> None:
        super().__init__(lr, weight_decay, clip)
        self.beta1 = beta1
        self.beta2 = beta2
        self.eps = eps
        self.decoupled = decoupled

    @property
    def spec(self) -> str:
        """``adam:lr=...,beta1=...,beta2=...,eps=...,weight_decay=...``, or ``adamw:...``.

        ``clip_norm`` or ``clip_value`` follows where there is one.
        """
        values = {
            "lr": self.lr,
            "beta1": self.beta1,
            "beta2": self.beta2,
            "eps": self.eps,
            "weight_decay": self.weight_decay,
            **self.clip.fields(),
        }
        return format_spec("adamw" if self.decoupled else "adam", values)

    def _update(
        self, name: str, param: np.ndarray, grad: np.ndarray, scratch: list[np.ndarray]
    ) -> None:
        work, decayed = scratch
        if self.weight_decay and self.decoupled:
            param *= 1 - self.lr * self.weight_decay
        elif self.weight_decay:
            np.multiply(param, self.weight_decay, out=decayed)
            decayed += grad
            grad = decayed
        mean, _ = self._slot("mean", name, param)
        square, _ = self._slot("square", name, param)
        np.subtract(grad, mean, out=work)
        work *= 1 - self.beta1
        mean += work
        np.multiply(grad, grad, out=work)
        work *= 1 - self.beta2
        square *= self.beta2
        square += work
        np.sqrt(square, out=work)
        work /= math.sqrt(1 - self.beta2**self.steps)
        work += self.eps
        np.divide(mean, work, out=work)
        work *= self.lr / (1 - self.beta1**self.steps)
        param -= work

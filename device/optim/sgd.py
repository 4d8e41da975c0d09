"""Stochastic gradient descent with momentum, as ``torch.optim.SGD``."""

from __future__ import annotations

import numpy as np

from slfac.codec.spec import format_spec
from slfac.device.optim.base import Optimizer
from slfac.device.optim.clip import NO_CLIP, Clip


class SGD(Optimizer):
    """``v = momentum * v + (g + weight_decay * p)``, ``p -= lr * v``; first ``v = g + ...``.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.optim.SGD.html

    Args:
        lr: Learning rate.
        momentum: 0 for none, which also keeps no state.
        weight_decay: L2 penalty, added to the gradient.
        clip: What gradients are held to.
    """

    slots = ("momentum",)

    def __init__(
        self, lr: float, *, momentum: float = 0.0, weight_decay: float = 0.0, clip: Clip = NO_CLIP
    ) -> None:
        super().__init__(lr, weight_decay, clip)
        self.momentum = momentum

    @property
    def spec(self) -> str:
        """``sgd:lr=...,momentum=...,weight_decay=...``, with ``clip_norm`` or ``clip_value``."""
        values = {"lr": self.lr, "momentum": self.momentum, "weight_decay": self.weight_decay}
        return format_spec("sgd", {**values, **self.clip.fields()})

    def _update(
        self, name: str, param: np.ndarray, grad: np.ndarray, scratch: list[np.ndarray]
    ) -> None:
        (work,) = scratch
        direction = grad
        if self.weight_decay:
            np.multiply(param, self.weight_decay, out=work)
            work += grad
            direction = work
        if self.momentum:
            velocity, fresh = self._slot("momentum", name, param)
            if fresh:
                velocity[...] = direction
            else:
                velocity *= self.momentum
                velocity += direction
            direction = velocity
        np.multiply(direction, self.lr, out=work)
        param -= work

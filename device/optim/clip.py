"""Gradient clipping, as ``torch.nn.utils.clip_grad_norm_`` and ``clip_grad_value_``."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

# torch's, so that a gradient of zeros is not divided by zero.
_EPS = 1e-6


@dataclass(frozen=True)
class Clip:
    """What a gradient is held to before the optimiser sees it.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.utils.clip_grad_norm_.html

    Attributes:
        norm: Largest 2-norm of all parameters' gradients as one vector; 0 for none.
        value: Largest magnitude of each element; 0 for none.
    """

    norm: float = 0.0
    value: float = 0.0

    def __bool__(self) -> bool:
        """Whether anything is held back."""
        return bool(self.norm or self.value)

    def fields(self) -> dict[str, float]:
        """What of it stands in a spec."""
        both = {"clip_norm": self.norm, "clip_value": self.value}
        return {name: limit for name, limit in both.items() if limit}

    def share(self, grads: Iterable[np.ndarray]) -> float:
        """What the norm allows of the gradients.

        Args:
            grads: All of them, float32.

        Returns:
            What to multiply each with, in (0, 1]; 0 or NaN where one is not finite.
        """
        if not self.norm:
            return 1.0
        squares = (float(np.einsum("i,i->", flat, flat, dtype=np.float64)) for flat in _flat(grads))
        # In this order, NaN stays NaN, as in torch.
        share = self.norm / (math.sqrt(sum(squares)) + _EPS)
        return min(share, 1.0)

    def write(self, grad: np.ndarray, share: float, out: np.ndarray) -> np.ndarray:
        """Clip one gradient.

        Args:
            grad: The gradient, which is only read.
            share: What :meth:`share` said of all.
            out: Where to write it.

        Returns:
            ``out``.
        """
        if self.value:
            np.clip(grad, -self.value, self.value, out=out)
        else:
            # A gradient that is not finite is the server's to refuse, by the front it makes.
            with np.errstate(invalid="ignore"):
                np.multiply(grad, np.float32(share), out=out)
        return out


NO_CLIP = Clip()


def _flat(grads: Iterable[np.ndarray]) -> Iterable[np.ndarray]:
    return (grad.reshape(-1) for grad in grads)

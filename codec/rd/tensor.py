"""One tensor that is transformed once, and encoded at one step size or several."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from slfac.codec.maps.layout import MapLayout
from slfac.codec.rd.encoding import encode_coefficients
from slfac.codec.rd.frame import to_frame
from slfac.codec.rd.plan import Plan, choose_plan

Floats = npt.NDArray[np.float32]

# Within these bounds squares of magnitudes neither overflow nor vanish.
_PLAIN_MAGNITUDES = (2.0**-30, 2.0**30)


class Encodable(Protocol):
    """A tensor that is to be encoded, once or several times, wherever its values are."""

    @property
    def rms(self) -> float:
        """Root of the mean square, of what :meth:`encode` takes the step size of."""

    def encode(self, step: float, *, transform: str, channels: str, dense: bool) -> bytes:
        """Encode; see :meth:`Tensor.encode`."""


class Tensor:
    """An array that is transformed once and quantised with one step size or several.

    Args:
        x: ``layout.shape`` float32, finite.
        layout: How it divides into maps.
        peak: Its largest magnitude, above zero.
        several: Whether to keep the coefficients for another step size.
    """

    def __init__(self, x: np.ndarray, layout: MapLayout, peak: float, *, several: bool) -> None:
        frame = to_frame(x, layout)
        exponent = scale_exponent(peak)
        if exponent:
            frame = np.ldexp(frame, -exponent)
        flat = frame.reshape(len(frame), -1)
        self._layout = layout
        self._frame = frame
        self._exponent = exponent
        self._energies = np.einsum("ij,ij->i", flat, flat).astype(np.float64)
        self._several = several
        self._transformed: tuple[Plan, Iterable[Floats]] | None = None
        self.rms = math.sqrt(float(self._energies.sum()) / frame.size)

    def encode(self, step: float, *, transform: str, channels: str, dense: bool) -> bytes:
        """Transform, if this is the first time, then quantise and code.

        Args:
            step: The step size.
            transform: See :func:`choose_plan`.
            channels: See :func:`choose_plan`.
            dense: Whether to code by the denser of two coders.

        Returns:
            The body of a payload.
        """
        if self._transformed is None:
            plan = choose_plan(
                self._frame, self._energies, step, transform=transform, channels=channels
            )
            blocks = plan.apply(self._frame)
            self._transformed = plan, list(blocks) if self._several else blocks
        plan, coefficients = self._transformed
        limits = float(self._frame.min()), float(self._frame.max())
        return encode_coefficients(
            coefficients,
            plan,
            self._layout,
            exponent=self._exponent,
            step=step,
            limits=limits,
            dense=dense,
        )


def scale_exponent(peak: float) -> int:
    """Power of two to divide an array by before it is transformed.

    Args:
        peak: Its largest magnitude, above zero.

    Returns:
        0 where squares of its magnitudes neither overflow nor vanish.
    """
    if _PLAIN_MAGNITUDES[0] <= peak <= _PLAIN_MAGNITUDES[1]:
        return 0
    return math.frexp(peak)[1] - 1

"""Random rounding: a coefficient of 0.3 steps becomes one step three times in ten.

Its mean is the coefficient, whatever its size, so that what a dead zone would always drop is learnt
from in the long run. The error of a single tensor is larger for it.

Source: Alistarh et al., "QSGD", NeurIPS 2017, arXiv 1610.02132, for gradients; Gupta et al., "Deep
Learning with Limited Numerical Precision", ICML 2015, arXiv 1502.02551.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from slfac.codec.rd.sparse import THRESHOLD

Floats = npt.NDArray[np.float32]


def dithered(
    coefficients: Iterable[Floats], step: float, rng: np.random.Generator
) -> Iterator[Floats]:
    """Add to magnitudes what makes the quantiser round at random.

    It takes ``floor(abs(r) + 0.4)`` of a coefficient of ``r`` steps; with ``u - 0.4`` added to
    ``abs(r)``, ``u`` even on [0, 1), that is ``floor(abs(r) + u)``, whose mean is ``abs(r)``.

    Args:
        coefficients: float32, in blocks.
        step: The step size, positive.
        rng: Where the draws come from; one a coefficient, in order.

    Yields:
        Fresh arrays of the blocks' shapes.
    """
    for block in coefficients:
        draws = rng.random(block.shape, np.float32)
        draws -= np.float32(1 - THRESHOLD)
        draws *= np.copysign(np.float32(step), block)
        draws += block
        yield draws

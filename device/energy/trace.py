"""What a sensor said, as arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PowerTrace:
    """Readings of one sensor, each the mean power of a window that ends when it was read.

    Attributes:
        t_s: When each was read, in seconds of the clock that stamps phases, ``(N,) float64``,
            increasing.
        window_s: What each averages over, ``(N,) float64``.
        watts: ``(N,) float64``; signed where the sensor is.
        counted: Whether windows are what a counter gained between readings, so that together
            they hold all the energy.
    """

    t_s: np.ndarray
    window_s: np.ndarray
    watts: np.ndarray
    counted: bool = False

    def __len__(self) -> int:
        return len(self.t_s)

    def where(self, keep: np.ndarray) -> PowerTrace:
        """Some of the readings.

        Args:
            keep: Which, ``(N,) bool``.
        """
        return PowerTrace(self.t_s[keep], self.window_s[keep], self.watts[keep], self.counted)

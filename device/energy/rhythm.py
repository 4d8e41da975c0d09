"""When a sensor is read next."""

from __future__ import annotations

import random

# Intervals differ by up to so much of a period to either side: steps of nearly one period would
# otherwise be seen at the same phases again and again.
_DITHER = 0.3


class Rhythm:
    """Instants that are a period apart on average, and never regular.

    Args:
        begin_ns: The first one.
        seed: Of the dithering.
    """

    def __init__(self, begin_ns: int, seed: int) -> None:
        self._due_ns = begin_ns
        self._random = random.Random(seed)  # noqa: S311 - nothing secret

    def wait_s(self, now_ns: int, period_s: float) -> float:
        """Seconds until the next instant, 0 if it has passed.

        Args:
            now_ns: The present one.
            period_s: The mean interval.
        """
        # Instants that were missed are not made up for.
        last_ns = max(self._due_ns, now_ns - round(period_s * 1e9))
        dithered_s = period_s * (1 + _DITHER * self._random.uniform(-1, 1))
        self._due_ns = last_ns + round(dithered_s * 1e9)
        return max(0.0, (self._due_ns - now_ns) * 1e-9)

"""Notices that nobody listens any more, so that nothing stays behind on a host."""

from __future__ import annotations

import os
import select
import time
from typing import Final

#: How often whoever listens says so.
RENEWED_S: Final = 5.0
_LASTS_S: Final = 30.0


class Lease:
    """Runs out where standard input ends, or is silent for long."""

    def __init__(self) -> None:
        self._until_s = time.monotonic() + _LASTS_S
        self._ended = False

    def wait(self, seconds: float) -> bool:
        """Wait.

        Args:
            seconds: How long.

        Returns:
            Whether somebody still listens.
        """
        end_s = time.monotonic() + seconds
        while not self._ended and (left_s := end_s - time.monotonic()) > 0:
            if select.select([0], [], [], left_s)[0]:
                self._ended = not os.read(0, 4096)
                self._until_s = time.monotonic() + _LASTS_S
        return not self._ended and time.monotonic() < self._until_s

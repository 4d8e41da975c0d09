"""Keeps cores busy, one thread a core."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from slfac.device.profiling.gain.ladder import Load

# 110 kB a matrix: into the second cache of every board that slfac knows.
_SIDE: Final = 168
# Larger than any last cache of a board.
_COPY_BYTES: Final = 16 << 20


class Workers:
    """Does loads in threads; NumPy lets go of Python's lock while it computes or copies."""

    @contextlib.contextmanager
    def busy(self, load: Load) -> Iterator[None]:
        """Do a load during a block.

        Args:
            load: The load.
        """
        ended = threading.Event()
        work = _copy if load.kind == "copy" else _compute
        threads = [
            threading.Thread(target=work, args=(ended.is_set,), name=f"load-{i}", daemon=True)
            for i in range(load.cores)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            ended.set()
            for thread in threads:
                thread.join()


def _compute(ended: Callable[[], bool]) -> None:
    a = np.full((_SIDE, _SIDE), 0.5, np.float32)
    out = np.empty_like(a)
    while not ended():
        np.matmul(a, a, out=out)


def _copy(ended: Callable[[], bool]) -> None:
    source = np.ones(_COPY_BYTES, np.uint8)
    target = np.empty_like(source)
    while not ended():
        np.copyto(target, source)

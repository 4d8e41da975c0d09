"""What a reader knows of a tensor: its values, or its shapes only.

The batch axis is found by reading every shape for three sizes of the batch at once: what
differs between them follows the batch, and what does not is constant. The first size is the
one that the file fixes, or 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

PROBES = 3


@dataclass(frozen=True, eq=False)
class Known:
    """A tensor whose values are known while reading.

    Attributes:
        arrays: Its values for each probed size of the batch; the same object for each
            where they do not depend on it.
        origin: Name of the weight in the file that it comes from.
    """

    arrays: tuple[np.ndarray, ...]
    origin: str

    @property
    def constant(self) -> np.ndarray | None:
        """The values if they are the same for every batch, else None."""
        first = self.arrays[0]
        same = all(a is first or np.array_equal(a, first) for a in self.arrays[1:])
        return first if same else None


@dataclass(frozen=True, eq=False)
class Live:
    """A tensor that depends on the input.

    Attributes:
        name: Its name in the file.
        metas: Tensors without storage that have its shape, for each probed size.
        maker: Operator that makes it; empty for the input.
    """

    name: str
    metas: tuple[Any, ...]
    maker: str = ""

    @property
    def rank(self) -> int:
        """Count of its axes."""
        return int(self.metas[0].dim())

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Its shape for each probed size of the batch."""
        return tuple(tuple(int(n) for n in m.shape) for m in self.metas)

    def static(self, axis: int) -> int | None:
        """Size of an axis, or None where it follows the batch."""
        sizes = {shape[axis] for shape in self.shapes}
        return sizes.pop() if len(sizes) == 1 else None


Value = Known | Live


def known(array: np.ndarray, origin: str) -> Known:
    """A tensor that is the same for every batch."""
    return Known((array,) * PROBES, origin)

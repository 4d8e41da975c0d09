"""The ranks that one run is spread over, as each of them sees the others."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import torch


class Peers:
    """A rank that is alone: what all ranks have together is what it has.

    Every rank calls the same methods in the same order; each call waits for all of them.

    Attributes:
        rank: Number of this rank, from 0.
        world: How many ranks there are.
    """

    rank: int = 0
    world: int = 1

    def share(self, *values: float) -> list[tuple[float, ...]]:
        """Tell all ranks some numbers.

        Args:
            *values: As many on every rank.

        Returns:
            Every rank's numbers, by rank.
        """
        return [values]

    def sums(self, *values: int) -> tuple[int, ...]:
        """Sums over all ranks.

        Args:
            *values: This rank's numbers, as many on every rank.
        """
        return tuple(int(sum(column)) for column in zip(*self.share(*values), strict=True))

    def least(self, value: float) -> float:
        """The smallest number of all ranks.

        Args:
            value: This rank's; infinity for none.
        """
        return min(entry[0] for entry in self.share(value))

    def gather(self, data: bytes) -> list[bytes]:
        """Tell all ranks some bytes.

        Args:
            data: This rank's.

        Returns:
            Every rank's, by rank.
        """
        return [data]

    def gather_tensor(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        """Show all ranks a tensor.

        Args:
            tensor: Of one shape and dtype on every rank.

        Returns:
            Every rank's, by rank.
        """
        return [tensor]

    def add(self, tensors: Sequence[torch.Tensor]) -> None:
        """Put sums over all ranks in the place of tensors.

        Args:
            tensors: Of the same shapes and dtypes on every rank.
        """

    def confirm(self, module: torch.nn.Module) -> None:
        """Wait for all ranks, and make sure that their replicas are still the same.

        Args:
            module: This rank's replica.
        """

    def as_one_batch(self, *, counts: bool) -> contextlib.AbstractContextManager[object]:
        """While entered, what is computed over a batch is computed over those of all ranks.

        Args:
            counts: Whether this rank's samples count; those of a rank that has none, and
                stands in line with another's, do not.
        """
        del counts
        return contextlib.nullcontext()

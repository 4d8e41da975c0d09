"""Steps that come in parts: what of them is in, and what is trained on when.

A run's steps come whole, in *micro-batches*, each of which is trained on as soon as those of
all devices that step together are in, or in *blocks*, which are put together first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from slfac.server.back import Batch, Outcome, Portion
from slfac.server.exchange import Decoded, Step
from slfac.wire.errors import ProtocolError
from slfac.wire.messages import Request


class Incoming:
    """Parts that are in and not trained on, by device.

    Args:
        batch_size: Largest batch of a device.
        joined: Whether a step is trained on when all of its parts are in.
    """

    def __init__(self, batch_size: int, *, joined: bool) -> None:
        self._batch_size = batch_size
        self._joined = joined
        self._parts: dict[int, deque[Step]] = {}
        self._samples: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._parts)

    def __contains__(self, index: int) -> bool:
        return index in self._parts

    def expect(self, index: int, header: Request) -> None:
        """Check a part's place in its step before its payload is looked at.

        Args:
            index: The device, whose parts come in order.
            header: The part's request.

        Raises:
            ProtocolError: The samples of the parts are not those of the step.
        """
        whole = header.step_samples or header.samples
        so_far = header.samples + (self._samples.get(index, 0) if header.part else 0)
        last = header.part == header.parts - 1
        if so_far > whole or whole > self._batch_size or (last and so_far < whole):
            raise ProtocolError(
                f"{so_far} samples came in {header.part + 1} of {header.parts} parts of a step of "
                f"{whole}"
            )
        self._samples[index] = so_far

    def put(self, step: Step) -> None:
        """Add a part."""
        self._parts.setdefault(step.arrived.index, deque()).append(step)

    def drop(self, index: int) -> None:
        """Drop the parts of a device.

        Args:
            index: The device.
        """
        self._parts.pop(index, None)

    def ready(self) -> tuple[int, ...]:
        """Devices that can be trained on, in the order in which they came."""
        return tuple(index for index, parts in self._parts.items() if self._is_ready(parts))

    def header(self, index: int) -> Request:
        """Header of a device's first part.

        Args:
            index: The device.
        """
        return self._parts[index][0].arrived.transfer.header

    def take(self, index: int) -> list[Step]:
        """What is to be trained on of a device: a part, or all of a step.

        Args:
            index: The device.
        """
        parts = self._parts[index]
        taken = [parts.popleft() for _ in range(len(parts) if self._joined else 1)]
        if not parts:
            del self._parts[index]
        return taken

    def _is_ready(self, parts: Sequence[Step]) -> bool:
        return not self._joined or len(parts) == parts[0].arrived.transfer.header.parts


@dataclass
class OpenStep:
    """A step in micro-batches that is not over.

    Attributes:
        members: How many parts each device's step has, in the order to train in.
        samples: Samples of all of them.
        share: Of the learning rate.
        part: The next part.
    """

    members: dict[int, int]
    samples: int
    share: float
    part: int = 0

    def wanted(self) -> tuple[int, ...]:
        """Devices whose next part is to be trained on."""
        return tuple(index for index, parts in self.members.items() if parts > self.part)

    def portion(self) -> Portion:
        """What the next part is of the whole."""
        last = all(parts <= self.part + 1 for parts in self.members.values())
        return Portion(self.samples, first=self.part == 0, last=last)


def join_parts(parts: Sequence[Decoded]) -> Batch:
    """A device's batch from the parts of it that are trained on together.

    Args:
        parts: The parts in their order.
    """
    if len(parts) == 1:
        return parts[0].batch
    tensors = zip(*(part.batch.smashed for part in parts), strict=True)
    target = np.concatenate([part.batch.target for part in parts])
    return Batch(tuple(torch.cat(blocks) for blocks in tensors), target)


def share_out(outcome: Outcome, parts: Sequence[Decoded]) -> list[Outcome]:
    """What each part of a batch gets of the batch's outcome.

    Args:
        outcome: Of all parts together.
        parts: The parts in their order.

    Returns:
        One outcome a part, with its own samples' gradients and the loss of all.
    """
    if len(parts) == 1:
        return [outcome]
    sizes = [len(part.batch.target) for part in parts]
    blocks = zip(*(torch.split(tensor, sizes) for tensor in outcome.gradients), strict=True)
    return [Outcome(outcome.loss, tensors, outcome.staleness) for tensors in blocks]

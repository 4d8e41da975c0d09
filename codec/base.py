"""What every codec is: the interface, and the key of its random numbers.

A codec object belongs to one stream: one device, one direction, one section. It may keep
state between calls (a rate controller does), which :meth:`Codec.state` hands out so that a
device can journal it.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from slfac.wire.errors import CodecError

Buffer = bytes | bytearray | memoryview
State = dict[str, float | list[float]]
# Steps are uint32 in the protocol.
_STEP_BITS = 32


@dataclass(frozen=True)
class StreamKey:
    """Names one draw of random numbers, so that a resend draws the same ones.

    Both ends take round and step from the step's request, which a resend does not change. A
    device that joins again counts its steps from 0, but in a later round, so that no two steps
    that become part of a run share a key. A round that starts again because all devices were
    lost may draw what it drew before.

    Attributes:
        seed: The run's seed.
        device: Index of the device.
        step: The device's own step since it joined.
        part: Micro-batch within the step.
        layer: Which stream of the step: the smashed tensors first, then what the middle of a
            model with a head gives.
        round: Round of the step.
        direction: ``up`` for what devices send, ``down`` for what they get.
    """

    seed: int = 0
    device: int = 0
    step: int = 0
    part: int = 0
    layer: int = 0
    round: int = 0
    direction: Literal["up", "down"] = "up"

    def rng(self) -> np.random.Generator:
        """A Philox generator keyed by all seven fields."""
        # What a key of round 0, upwards, draws is frozen in payloads.
        step = self.round << _STEP_BITS | self.step
        layer = 2 * self.layer + (self.direction == "down")
        entropy = (self.seed, self.device, step, self.part, layer)
        return np.random.Generator(np.random.Philox(np.random.SeedSequence(entropy)))


class Codec(abc.ABC):
    """Turns arrays into self-describing payloads and back.

    Attributes:
        name: Name in spec strings (``slfac`` in ``slfac:theta=0.9``).
        ident: Number in the payload's container header; never reused.
    """

    name: ClassVar[str]
    ident: ClassVar[int]

    @property
    @abc.abstractmethod
    def spec(self) -> str:
        """Canonical spec string; ``make_codec(codec.spec)`` gives an equal codec."""

    @abc.abstractmethod
    def encode(self, x: np.ndarray, *, key: StreamKey | None = None) -> Buffer:
        """Encode an array.

        Args:
            x: ``(B, C, H, W)``, ``(B, C, T)``, ``(B, T, D)`` or ``(B, D)`` float32.
            key: Which random numbers to draw; codecs without any ignore it.

        Returns:
            A payload that starts with the container header.

        Raises:
            CodecError: The array holds NaN or infinity, is empty, or is of a shape or
                dtype that the codec cannot take.
        """

    def state(self) -> State:
        """What the codec remembers between calls, for a journal; empty for most."""
        return {}

    def restore(self, state: State) -> None:
        """Take back what :meth:`state` gave.

        Args:
            state: As given by an equal codec.

        Raises:
            CodecError: The state is not one of this codec's.
        """
        if state:
            raise CodecError(f"codec {self.spec} keeps no state, but was given {sorted(state)}")

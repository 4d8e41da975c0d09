"""What computes a device's part of a step: its halves, optimiser and codecs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np

from slfac.codec import Buffer, Codec, decode, make_codec
from slfac.codec.base import State as CodecState
from slfac.codec.base import StreamKey
from slfac.device.front import Front
from slfac.device.head import Head
from slfac.device.optim import Optimizer, make_optimizer
from slfac.wire.bundle import State
from slfac.wire.manifest import Head as HeadSpec

# A NumPy array on a device; only the engine that made it looks inside.
Array: TypeAlias = Any
Arrays = dict[str, Array]


class FrontHalf(Protocol):
    """The front; see :class:`slfac.device.front.Front`.

    Attributes:
        parameters: What is trained, by name.
        buffers: Running statistics and counters by name.
    """

    parameters: Arrays
    buffers: Arrays

    def load(self, state: State) -> None:
        """Take over a front's state, copied."""

    def state(self) -> State:
        """Parameters and buffers by name, as NumPy arrays."""

    def forward(self, x: np.ndarray, draws: State | None = None, part: int = 0) -> list[Array]:
        """Smashed data of a batch, one ``(B, ...) float32`` array a smashed tensor."""

    def backward(self, gradients: Sequence[Array], part: int = 0) -> Arrays:
        """Gradients of the parameters by name; takes over new statistics."""


class HeadMade(Protocol):
    """What a step of the head gives; see :class:`slfac.device.head.HeadStep`."""

    @property
    def loss(self) -> float:
        """Mean loss of the batch."""

    @property
    def crossing(self) -> list[Array]:
        """Gradient of each tensor that the middle gave."""

    @property
    def gradients(self) -> Arrays:
        """Gradients of the head's parameters, by name."""

    @property
    def buffers(self) -> Arrays:
        """New values of its buffers, by name."""


class HeadHalf(Protocol):
    """The head; see :class:`slfac.device.head.Head`."""

    @property
    def spec(self) -> HeadSpec:
        """What the manifest says of it."""

    def step(
        self, state: Arrays, inputs: Sequence[Array], target: np.ndarray, draws: State
    ) -> HeadMade:
        """Forward and backward; nothing is changed."""


class Updates(Protocol):
    """An optimiser; see :class:`slfac.device.optim.Optimizer`.

    Attributes:
        lr: Learning rate, which a schedule may change between steps.
    """

    lr: float

    def step(self, params: Mapping[str, Array], grads: Mapping[str, Array]) -> None:
        """Update parameters in place."""

    def state(self) -> dict[str, np.ndarray]:
        """Everything but the settings, copied."""

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Take back what :meth:`state` gave."""


class Encoder(Protocol):
    """The codec of one stream; see :class:`slfac.codec.Codec`."""

    @property
    def spec(self) -> str:
        """Canonical spec string."""

    def encode(self, x: Array, *, key: StreamKey | None = None) -> Buffer:
        """Encode an array."""

    def state(self) -> CodecState:
        """What it remembers between calls."""

    def restore(self, state: CodecState) -> None:
        """Take back what :meth:`state` gave."""


class Engine(Protocol):
    """Computes steps.

    Attributes:
        front: The front.
        head: The head; None where the bundle has none.
    """

    @property
    def front(self) -> FrontHalf:
        """The front."""

    @property
    def head(self) -> HeadHalf | None:
        """The head."""

    def optimizer(self, spec: str) -> Updates:
        """A fresh optimiser of what the device trains.

        Args:
            spec: As :func:`slfac.device.optim.make_optimizer` takes it.
        """

    def codecs(self, spec: str, count: int) -> list[Encoder]:
        """Fresh codecs of the streams upwards, by layer.

        Args:
            spec: As :func:`slfac.codec.make_codec` takes it.
            count: How many.
        """

    def decode(self, payload: Buffer, max_values: int) -> Array:
        """Decode what came.

        Args:
            payload: What an encoder gave.
            max_values: Most values that it may stand for.

        Raises:
            CodecError: The payload is damaged, or larger.
        """

    def join(self, blocks: Sequence[Array]) -> Array:
        """One array of blocks of samples."""


class OnnxEngine:
    """What a board has: ONNX graphs, and NumPy for the rest.

    Args:
        front: The front.
        head: The head; None where the bundle has none.
    """

    def __init__(self, front: Front, head: Head | None = None) -> None:
        self.front = front
        self.head = head

    def optimizer(self, spec: str) -> Optimizer:
        """A fresh optimiser; see :meth:`Engine.optimizer`."""
        return make_optimizer(spec)

    def codecs(self, spec: str, count: int) -> list[Encoder]:
        """Fresh codecs; see :meth:`Engine.codecs`."""
        codecs: list[Encoder] = []
        for _ in range(count):
            codec: Codec = make_codec(spec)
            codecs.append(codec)
        return codecs

    def decode(self, payload: Buffer, max_values: int) -> np.ndarray:
        """Decode what came; see :meth:`Engine.decode`."""
        return decode(payload, max_values=max_values)

    def join(self, blocks: Sequence[np.ndarray]) -> np.ndarray:
        """One array of blocks of samples."""
        return np.concatenate(blocks)

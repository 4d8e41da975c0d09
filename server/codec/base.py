"""What a torch codec is: an encoder of many streams at once, and a decoder in two steps.

A payload is *read* when it comes in: its header is checked and its integers that belong to
a map or the whole array are parsed, on the CPU and without torch. So a bad payload is
refused before anything of it reaches the device, and by itself. What is a matter of each
value is done later, for many payloads in one go, on the device.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch

from slfac.codec import Buffer, StreamKey
from slfac.codec.base import State
from slfac.codec.container import Header
from slfac.wire.errors import CodecError

Content = TypeVar("Content")


class TorchCodec(abc.ABC):
    """Encodes the tensors of many streams: all devices, one direction.

    Attributes:
        spec: Canonical spec string, as that of the NumPy codec.
        together: Whether encoding many tensors in one call costs less than a call for each.
    """

    spec: str
    together: bool

    @abc.abstractmethod
    def encode_batch(
        self, tensors: Sequence[torch.Tensor], keys: Sequence[StreamKey]
    ) -> list[Buffer]:
        """Encode tensors.

        Args:
            tensors: As :meth:`slfac.codec.Codec.encode` takes them, on any device.
            keys: One a tensor: its stream (``device`` and ``layer``), and which random
                numbers to draw.

        Returns:
            A payload for each.

        Raises:
            CodecError: As :meth:`slfac.codec.Codec.encode`, for the first tensor that is
                refused.
        """

    @abc.abstractmethod
    def forget(self, device: int) -> None:
        """Drop what the streams of a device that is gone have left behind.

        Args:
            device: Its index, as in the keys.
        """

    def state(self) -> dict[str, State]:
        """What each stream remembers, for a checkpoint: ``device/layer`` -> its codec's state."""
        return {}

    def restore(self, state: Mapping[str, State]) -> None:
        """Take back what :meth:`state` gave.

        Args:
            state: As given by an equal codec.

        Raises:
            CodecError: It is not the state of such a codec.
        """
        if state:
            raise CodecError(f"codec {self.spec} keeps no state, but was given some")


class Decoder(abc.ABC, Generic[Content]):
    """Decodes the payloads of one codec."""

    @abc.abstractmethod
    def read(self, header: Header, body: memoryview) -> Content:
        """Check a payload and parse what is not a matter of each value.

        Args:
            header: Its container header.
            body: What follows it; the content may hold views of it.

        Returns:
            What :meth:`load` takes.

        Raises:
            CodecError: As the NumPy decoder.
        """

    @abc.abstractmethod
    def load(
        self, read: Sequence[tuple[Header, Content]], device: torch.device
    ) -> list[torch.Tensor]:
        """Decode payloads that were read.

        Args:
            read: Container header and content of each.
            device: Where the tensors are to be.

        Returns:
            A tensor of the header's shape and dtype for each, which shares memory with no other.
        """


@dataclass(frozen=True)
class ReadPayload:
    """A payload that was read and not yet decoded.

    Attributes:
        header: Its container header: what shape and dtype it decodes to.
        decoder: What read it.
        content: What that made of it.
    """

    header: Header
    decoder: Decoder[Any]
    content: Any

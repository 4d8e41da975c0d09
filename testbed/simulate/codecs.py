"""The codecs of all devices: their streams are encoded and decoded together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from slfac.codec import Buffer, StreamKey
from slfac.codec.base import State
from slfac.server.codec import TorchCodec, decode_batch, make_torch_codec, read_payload
from slfac.testbed.simulate.stage import Actor, outcome
from slfac.wire.errors import SlfacError


class Codecs:
    """Encodes what devices send, and decodes what they get.

    Args:
        spec: Spec of the codec upwards.
        device: Where the tensors are.
    """

    def __init__(self, spec: str, device: torch.device) -> None:
        self._device = device
        self.up: TorchCodec = make_torch_codec(spec, device)

    def encode(self, asked: list[tuple[torch.Tensor, StreamKey]]) -> list[Any]:
        """Encode tensors of several devices.

        Args:
            asked: Tensor and stream of each.

        Returns:
            A payload for each, or the reason why there is none.
        """
        groups = [asked] if self.up.together else [[one] for one in asked]
        return [made for group in groups for made in _all(self._encode, group)]

    def decode(self, asked: list[tuple[Buffer, int]]) -> list[Any]:
        """Decode payloads of several devices.

        Args:
            asked: Payload, and most values it may stand for, of each.

        Returns:
            A tensor for each, or the reason why there is none.
        """
        return _all(self._decode, asked)

    def _encode(self, asked: Sequence[tuple[torch.Tensor, StreamKey]]) -> list[Any]:
        tensors, keys = zip(*asked, strict=True)
        return list(self.up.encode_batch(tensors, keys))

    def _decode(self, asked: Sequence[tuple[Buffer, int]]) -> list[Any]:
        read = [read_payload(data, max_values=most, device=self._device) for data, most in asked]
        return list(decode_batch(read, self._device))


class StreamCodec:
    """The codec of one device's stream; see :class:`slfac.device.engine.Encoder`.

    Args:
        codecs: Those of all devices.
        actor: The device.
        index: Its index.
        layer: Number of the stream.
    """

    def __init__(self, codecs: Codecs, actor: Actor, index: int, layer: int) -> None:
        self._codecs = codecs
        self._actor = actor
        self._stream = f"{index}/{layer}"

    @property
    def spec(self) -> str:
        """Canonical spec string."""
        return self._codecs.up.spec

    def encode(self, x: torch.Tensor, *, key: StreamKey | None = None) -> Buffer:
        """Encode a tensor, with those of other devices."""
        payload: Buffer = self._actor.do(self._codecs.encode, (x, key))
        return payload

    def state(self) -> State:
        """What the stream remembers."""
        return self._codecs.up.state().get(self._stream, {})

    def restore(self, state: State) -> None:
        """Take back what :meth:`state` gave."""
        self._codecs.up.restore({self._stream: state} if state else {})


def _all(work: Callable[[Sequence[Any]], list[Any]], asked: Sequence[Any]) -> list[Any]:
    """Do something for all at once; where that fails, for each, to tell whose fault it is."""
    try:
        return work(asked)
    except SlfacError:
        return [made[0] if isinstance(made, list) else made for made in _each(work, asked)]


def _each(work: Callable[[Sequence[Any]], list[Any]], asked: Sequence[Any]) -> list[Any]:
    return [outcome(partial(work, [one])) for one in asked]

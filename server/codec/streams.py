"""The codecs of many streams, one each, made when its first tensor comes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from slfac.codec import Codec, StreamKey
from slfac.codec.base import State
from slfac.wire.errors import CodecError

C = TypeVar("C", bound=Codec)


class Streams(Generic[C]):
    """A codec for each device and layer.

    Args:
        make: Makes a fresh one.
    """

    def __init__(self, make: Callable[[], C]) -> None:
        self._make = make
        self._codecs: dict[tuple[int, int], C] = {}

    def of(self, key: StreamKey) -> C:
        """The codec of a stream.

        Args:
            key: Its ``device`` and ``layer`` name the stream.
        """
        return self._at(key.device, key.layer)

    def forget(self, device: int) -> None:
        """Drop those of a device.

        Args:
            device: Its index.
        """
        self._codecs = {key: codec for key, codec in self._codecs.items() if key[0] != device}

    def state(self) -> dict[str, State]:
        """``device/layer`` -> what its codec remembers, where that is anything."""
        states = {key: codec.state() for key, codec in self._codecs.items()}
        return {f"{device}/{layer}": state for (device, layer), state in states.items() if state}

    def restore(self, state: Mapping[str, State]) -> None:
        """Take back what :meth:`state` gave.

        Args:
            state: As given by streams of equal codecs.

        Raises:
            CodecError: It is not the state of such codecs.
        """
        for name, values in state.items():
            device, _, layer = name.partition("/")
            if not (device.isdecimal() and layer.isdecimal()):
                raise CodecError(f"a codec's state is of stream {name!r}")
            self._at(int(device), int(layer)).restore(values)

    def _at(self, device: int, layer: int) -> C:
        stream = device, layer
        if stream not in self._codecs:
            self._codecs[stream] = self._make()
        return self._codecs[stream]

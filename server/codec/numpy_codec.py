"""NumPy codecs on torch tensors: for codecs without a torch twin, and for tensors on a CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from slfac.codec import Buffer, Codec, StreamKey, make_codec
from slfac.codec.base import State
from slfac.codec.container import Header
from slfac.codec.registry import decode_body
from slfac.server.codec.base import Decoder, TorchCodec
from slfac.server.codec.streams import Streams


class NumpyCodec(TorchCodec):
    """One NumPy codec a stream.

    Args:
        spec: Spec of the codec.

    Raises:
        SettingsError: The spec is wrong.
    """

    together = False

    def __init__(self, spec: str) -> None:
        self.spec = make_codec(spec).spec
        self._streams: Streams[Codec] = Streams(lambda: make_codec(self.spec))

    def encode_batch(
        self, tensors: Sequence[torch.Tensor], keys: Sequence[StreamKey]
    ) -> list[Buffer]:
        """Encode tensors one after another; see :meth:`TorchCodec.encode_batch`."""
        return [
            self._streams.of(key).encode(tensor.detach().cpu().numpy(), key=key)
            for tensor, key in zip(tensors, keys, strict=True)
        ]

    def forget(self, device: int) -> None:
        """Drop the codecs of a device."""
        self._streams.forget(device)

    def state(self) -> dict[str, State]:
        """What each stream's codec remembers; see :meth:`TorchCodec.state`."""
        return self._streams.state()

    def restore(self, state: Mapping[str, State]) -> None:
        """Take back what :meth:`state` gave; see :meth:`TorchCodec.restore`."""
        self._streams.restore(state)


class NumpyDecoder(Decoder[np.ndarray]):
    """Decodes all of a payload when it is read, which is while others are still to come."""

    def read(self, header: Header, body: memoryview) -> np.ndarray:
        """Decode a payload of any codec."""
        return decode_body(header, body)

    def load(
        self, read: Sequence[tuple[Header, np.ndarray]], device: torch.device
    ) -> list[torch.Tensor]:
        """Bring the arrays to the device."""
        return [torch.from_numpy(array).to(device) for _, array in read]

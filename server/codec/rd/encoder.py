"""slfac-rd's encoder on torch tensors, all streams at once.

Transforms, their choice and the dead zone run on the device over the tensors of all streams.
What has a code comes to the CPU, where the NumPy codec's own functions drop, order and code it,
so that equal coefficients give equal bytes. The transforms of both encoders differ in the last
bits of float32, and so may a few codes and entries of a basis.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch

from slfac.codec import Buffer, StreamKey
from slfac.codec.base import State
from slfac.codec.maps.layout import RANKS, MapLayout, choose_layout
from slfac.codec.rd.codec import RdCodec
from slfac.server.codec.base import TorchCodec
from slfac.server.codec.checks import require_float32
from slfac.server.codec.groups import group_by_map
from slfac.server.codec.rd.tensor import DeviceTensor, measure, prepare
from slfac.server.codec.streams import Streams


class RdTwin(TorchCodec):
    """Encodes as the NumPy codec that it is given, one for each stream.

    Args:
        codec: Holds the settings; fresh, for every stream begins with a copy of it.
        device: Where to work; tensors from elsewhere are moved there.
    """

    together = True

    def __init__(self, codec: RdCodec, device: torch.device) -> None:
        self.spec = codec.spec
        self._fresh = codec
        self._device = device
        self._streams = Streams(lambda: copy.deepcopy(codec))

    def encode_batch(
        self, tensors: Sequence[torch.Tensor], keys: Sequence[StreamKey]
    ) -> list[Buffer]:
        """Encode tensors; see :meth:`TorchCodec.encode_batch`."""
        layouts = [self._layout(tensor) for tensor in tensors]
        codecs = [self._streams.of(key) for key in keys]
        # What a stream's second tensor is tried at first, only its first one tells.
        first = {codec: i for i, codec in reversed(list(enumerate(codecs)))}
        ready: dict[int, DeviceTensor | None] = {}
        for members in group_by_map(layouts).values():
            moved = [tensors[i].detach().to(self._device) for i in members]
            found = dict(zip(members, measure(moved, [layouts[i] for i in members]), strict=True))
            self._prepare({codecs[i]: one for i, one in found.items() if first[codecs[i]] == i})
            ready.update(found)
        return [codec.encode_tensor(layouts[i], ready[i]) for i, codec in enumerate(codecs)]

    def forget(self, device: int) -> None:
        """Drop the codecs of a device."""
        self._streams.forget(device)

    def state(self) -> dict[str, State]:
        """What each stream's codec remembers; see :meth:`TorchCodec.state`."""
        return self._streams.state()

    def restore(self, state: Mapping[str, State]) -> None:
        """Take back what :meth:`state` gave; see :meth:`TorchCodec.restore`."""
        self._streams.restore(state)

    def _layout(self, tensor: torch.Tensor) -> MapLayout:
        require_float32(tensor, ranks=RANKS, spec=self.spec)
        return choose_layout(tuple(tensor.shape), time_second=self._fresh.layout == "btd")

    def _prepare(self, tensors: dict[RdCodec, DeviceTensor | None]) -> None:
        live = [(codec, one) for codec, one in tensors.items() if one is not None]
        if live:
            prepare(
                [one for _, one in live],
                [codec.next_step * one.rms for codec, one in live],
                transform=self._fresh.transform,
                channels=self._fresh.channels,
            )

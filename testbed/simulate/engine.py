"""What computes the steps of simulated devices: torch, for all of them at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from slfac.codec import Buffer
from slfac.device.engine import Encoder
from slfac.device.front import Front
from slfac.device.provider import self_test
from slfac.testbed.simulate.codecs import Codecs, StreamCodec
from slfac.testbed.simulate.front import TorchFront, to_numpy
from slfac.testbed.simulate.halves import DeviceHalves, device_halves
from slfac.testbed.simulate.head import TorchHead
from slfac.testbed.simulate.optim import TorchUpdates
from slfac.testbed.simulate.stage import Actor
from slfac.wire.bundle import Bundle, State
from slfac.wire.errors import BundleError, TrainingError


@dataclass(frozen=True)
class Shared:
    """What all devices of a simulation have in common.

    Attributes:
        bundle: The bundle in training.
        halves: What its devices compute.
        device: Where they compute it.
        codecs: Their codecs.
    """

    bundle: Bundle
    halves: DeviceHalves
    device: torch.device
    codecs: Codecs


class TorchEngine:
    """Computes the steps of one device; see :class:`slfac.device.engine.Engine`.

    Args:
        shared: What it has in common with the others.
        actor: The device.
        index: Its index.

    Attributes:
        front: Its front.
        head: Its head; None where the bundle has none.
    """

    def __init__(self, shared: Shared, actor: Actor, index: int) -> None:
        self._shared = shared
        self._actor = actor
        self._index = index
        bundle, manifest = shared.bundle, shared.bundle.manifest
        self.front = TorchFront(
            shared.halves.front, manifest, bundle.front_state(), shared.device, actor.run
        )
        self.head: TorchHead | None = None
        if shared.halves.head is not None and manifest.head:
            self.head = TorchHead(
                shared.halves.head, manifest, manifest.head, shared.device, actor.run
            )

    def optimizer(self, spec: str) -> TorchUpdates:
        """A fresh optimiser; see :meth:`slfac.device.engine.Engine.optimizer`."""
        return TorchUpdates(spec, self.front.parameters, self._actor.run)

    def codecs(self, spec: str, count: int) -> list[Encoder]:
        """Fresh codecs; see :meth:`slfac.device.engine.Engine.codecs`."""
        del spec
        self._shared.codecs.up.forget(self._index)
        return [
            StreamCodec(self._shared.codecs, self._actor, self._index, layer)
            for layer in range(count)
        ]

    def decode(self, payload: Buffer, max_values: int) -> torch.Tensor:
        """Decode what came, with what came for other devices."""
        tensor: torch.Tensor = self._actor.do(self._shared.codecs.decode, (payload, max_values))
        return tensor

    def join(self, blocks: Sequence[torch.Tensor]) -> torch.Tensor:
        """One tensor of blocks of samples."""
        return torch.cat(list(blocks))


def share(bundle: Bundle, allow: Sequence[str], codec_up: str, device: torch.device) -> Shared:
    """Rebuild what devices compute, and prove that it is what the bundle's graphs compute.

    Args:
        bundle: The bundle.
        allow: What may build its model.
        codec_up: Spec of the codec of what devices send.
        device: Where to compute.

    Returns:
        What all devices have in common.

    Raises:
        BundleError: The front cannot be rebuilt, or computes something else.
    """
    halves = device_halves(bundle, allow, device)
    front = TorchFront(halves.front, bundle.manifest, bundle.front_state(), device)
    try:
        self_test(_OnArrays(front, device), Front(bundle), bundle)
    except TrainingError as error:
        raise BundleError(
            f"bundle {bundle.path}: its model in torch is not what devices train: {error.what}",
            "train it with real devices, or export it again",
        ) from error
    return Shared(bundle, halves, device, Codecs(codec_up, device))


class _OnArrays:
    """A front in torch for whoever has NumPy arrays."""

    def __init__(self, front: TorchFront, device: torch.device) -> None:
        self._front = front
        self._device = device

    @property
    def buffers(self) -> State:
        return {name: to_numpy(tensor) for name, tensor in self._front.buffers.items()}

    def forward(self, x: np.ndarray, draws: State | None = None) -> list[np.ndarray]:
        return [to_numpy(z) for z in self._front.forward(x, draws)]

    def backward(self, gradients: Sequence[np.ndarray]) -> State:
        given = [torch.from_numpy(gradient).to(self._device) for gradient in gradients]
        return {name: to_numpy(tensor) for name, tensor in self._front.backward(given).items()}

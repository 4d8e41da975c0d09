"""A device's front in torch: the state of one device, and steps of a module that all share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch
from torch.func import functional_call

from slfac.export.draws import GivenDraws
from slfac.export.half import Half
from slfac.server.accelerator import memory_errors
from slfac.server.codec.precision import full_float32
from slfac.wire.bundle import State, check_front_state
from slfac.wire.errors import TrainingError
from slfac.wire.manifest import Manifest, RandomSpec

P = ParamSpec("P")
T = TypeVar("T")
Tensors = dict[str, torch.Tensor]
# Calls a function where torch's threads are.
Run = Callable[[Callable[[], Any]], Any]


def here(call: Callable[[], T]) -> T:
    """Call a function where this is called.

    Args:
        call: The function.
    """
    return call()


class TorchFront:
    """As :class:`slfac.device.front.Front`, on torch tensors.

    Args:
        module: The front, whose own weights are not used.
        manifest: The bundle's manifest.
        state: Parameters and buffers to begin with.
        device: Where to compute.
        run: Calls a function where torch's threads are.

    Attributes:
        parameters: Trainable tensors by name; an optimiser updates them in place.
        buffers: Running statistics and counters by name.
    """

    def __init__(
        self,
        module: Half,
        manifest: Manifest,
        state: State,
        device: torch.device,
        run: Run = here,
    ) -> None:
        self._module = module
        self._manifest = manifest
        self._device = device
        self._run = run
        self._names = [n for n in module.state_dict() if n in state]
        self._trained = [name for name in manifest.graphs.gradients if name in self._names]
        others = set(manifest.head.state) if manifest.head else set()
        self._updates = {b.tensor.name: b.update for b in manifest.buffers}
        self._updates = {n: u for n, u in self._updates.items() if n not in others}
        # What has been computed forward: smashed data with its history, and new statistics.
        self._parts: dict[int, tuple[tuple[torch.Tensor, ...], Tensors]] = {}
        given = {name: torch.from_numpy(np.array(value)) for name, value in state.items()}
        self.parameters: Tensors = {
            s.name: given[s.name].to(device).requires_grad_() for s in manifest.parameters
        }
        names = [b.tensor.name for b in manifest.buffers]
        self.buffers: Tensors = {name: given[name].to(device) for name in names}

    def load(self, state: State) -> None:
        """Take over a front's state, copied; see :meth:`slfac.device.front.Front.load`."""
        check_front_state(self._manifest, state)
        self._run(lambda: self._load(state))

    def state(self) -> State:
        """Parameters and buffers by name, copied to the host."""
        state: State = self._run(self._state)
        return state

    def forward(self, x: np.ndarray, draws: State | None = None, part: int = 0) -> list[Any]:
        """Compute smashed data; see :meth:`slfac.device.front.Front.forward`."""
        smashed: list[Any] = self._run(lambda: self._forward(x, draws or {}, part))
        return smashed

    def backward(self, gradients: Sequence[torch.Tensor], part: int = 0) -> Tensors:
        """Compute gradients; see :meth:`slfac.device.front.Front.backward`."""
        found: Tensors = self._run(lambda: self._backward(gradients, part))
        return found

    @torch.no_grad()
    def _load(self, state: State) -> None:
        for name, tensor in (*self.parameters.items(), *self.buffers.items()):
            # In place: optimisers hold on to the tensors.
            tensor.copy_(torch.from_numpy(np.array(state[name])))
        self._parts.clear()

    def _state(self) -> State:
        tensors = {**self.parameters, **self.buffers}
        return {name: to_numpy(tensor) for name, tensor in tensors.items()}

    @memory_errors("a front computes")
    def _forward(self, x: np.ndarray, draws: State, part: int) -> list[torch.Tensor]:
        buffers = {name: buffer.clone() for name, buffer in self.buffers.items()}
        held = {**self.parameters, **buffers}
        given = {name: held[name] for name in self._names}
        inputs = (torch.from_numpy(x).to(self._device),)
        drawn = drawn_for(self._manifest.random, draws, self._device)
        smashed = call_half(self._module, given, inputs, drawn)
        self._parts[part] = smashed, buffers
        return [z.detach() for z in smashed]

    @memory_errors("a front computes gradients")
    def _backward(self, gradients: Sequence[torch.Tensor], part: int) -> Tensors:
        if part not in self._parts:
            raise TrainingError("a gradient came without a forward pass before it")
        smashed, buffers = self._parts.pop(part)
        found = gradients_of(smashed, gradients, {n: self.parameters[n] for n in self._trained})
        for name, update in self._updates.items():
            if update == "graph":
                self.buffers[name].copy_(buffers[name])
            elif update == "count":
                self.buffers[name] += 1
        return found


def to_numpy(tensor: torch.Tensor) -> np.ndarray:
    """A copy of a tensor on the host.

    Args:
        tensor: On any device.
    """
    array: np.ndarray = tensor.detach().cpu().numpy().copy()
    return array


def drawn_for(
    specs: Sequence[RandomSpec], draws: State, device: torch.device
) -> list[torch.Tensor]:
    """The random numbers of a half as tensors, in the order in which it takes them.

    Args:
        specs: What it draws.
        draws: The numbers by name.
        device: Where they are wanted.
    """
    return [torch.from_numpy(draws[spec.name]).to(device) for spec in specs]


def call_half(
    half: Half,
    tensors: Tensors,
    inputs: tuple[torch.Tensor, ...],
    drawn: Sequence[torch.Tensor],
) -> tuple[torch.Tensor, ...]:
    """Compute what a half does with given weights, in float32.

    Args:
        half: The half.
        tensors: Its parameters and buffers by name; buffers are changed as it changes them.
        inputs: Its inputs.
        drawn: Its random numbers.

    Returns:
        One tensor an output.

    Raises:
        TrainingError: Torch failed on the batch.
    """
    try:
        with full_float32():
            if drawn:
                with GivenDraws(drawn):
                    made = functional_call(half, tensors, inputs)
            else:
                made = functional_call(half, tensors, inputs)
    except torch.cuda.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError) as error:
        # BatchNorm, for one, cannot train on a single sample.
        raise TrainingError(
            f"a device's half failed on a batch of {len(inputs[0])}: {error}",
            "change the batch size, or export the model again",
        ) from error
    return made if isinstance(made, tuple) else (made,)


def gradients_of(
    outputs: Sequence[torch.Tensor], upstream: Sequence[torch.Tensor], wanted: Tensors
) -> Tensors:
    """Gradients of tensors by name; zeros where an output does not depend on one.

    Args:
        outputs: What was computed of them.
        upstream: The gradient of each output.
        wanted: The tensors.
    """
    pairs = [(z, g) for z, g in zip(outputs, upstream, strict=True) if z.requires_grad]
    if not wanted or not pairs:
        return {name: torch.zeros_like(tensor) for name, tensor in wanted.items()}
    made, given = zip(*pairs, strict=True)
    with full_float32():
        found = torch.autograd.grad(
            made, list(wanted.values()), given, allow_unused=True, materialize_grads=True
        )
    return dict(zip(wanted, found, strict=True))

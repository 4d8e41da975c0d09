"""A device's optimiser in torch, which takes the steps that the boards' takes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from slfac.server.optim import make_torch_optimizer
from slfac.server.optim_state import flatten_optimizer, load_optimizer
from slfac.testbed.simulate.front import Run, Tensors, here, to_numpy
from slfac.wire.errors import TrainingError


class TorchUpdates:
    """As :class:`slfac.device.optim.Optimizer`, by ``torch.optim``.

    Args:
        spec: As :func:`slfac.device.optim.make_optimizer` takes it.
        parameters: What it updates, by name.
        run: Calls a function where torch's threads are.
    """

    def __init__(self, spec: str, parameters: Tensors, run: Run = here) -> None:
        self._run = run
        # A cut before the first layer with weights leaves nothing to train here.
        held = [*parameters.values()] or [torch.zeros(0, requires_grad=True)]
        self._optimizer = make_torch_optimizer(spec, held)
        self._lr = float(self._optimizer.param_groups[0]["lr"])

    @property
    def lr(self) -> float:
        """Learning rate, which a schedule may change between steps."""
        return self._lr

    @lr.setter
    def lr(self, value: float) -> None:
        self._lr = value
        for group in self._optimizer.param_groups:
            group["lr"] = value

    def step(self, params: Mapping[str, torch.Tensor], grads: Mapping[str, torch.Tensor]) -> None:
        """Update parameters in place.

        Args:
            params: Those that it was made for.
            grads: Gradients of some or all of them.
        """
        self._run(lambda: self._step(params, grads))

    def state(self) -> dict[str, np.ndarray]:
        """Everything but the settings, copied to the host."""
        state: dict[str, np.ndarray] = self._run(self._state)
        return state

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Take back what :meth:`state` gave.

        Args:
            state: As given by an optimiser of the same spec.

        Raises:
            TrainingError: It is not that.
        """
        self._run(lambda: self._restore(state))

    def _step(self, params: Mapping[str, torch.Tensor], grads: Mapping[str, torch.Tensor]) -> None:
        for name, tensor in params.items():
            tensor.grad = grads.get(name)
        self._optimizer.step()
        for tensor in params.values():
            tensor.grad = None

    def _state(self) -> dict[str, np.ndarray]:
        tensors, _ = flatten_optimizer(self._optimizer)
        return {name: to_numpy(tensor) for name, tensor in tensors.items()}

    def _restore(self, state: Mapping[str, np.ndarray]) -> None:
        tensors = {name: torch.from_numpy(np.array(array)) for name, array in state.items()}
        groups = [
            {key: value for key, value in group.items() if key != "params"}
            for group in self._optimizer.param_groups
        ]
        try:
            load_optimizer(self._optimizer, tensors, groups)
        except (ValueError, KeyError) as error:
            raise TrainingError(
                f"the optimiser's state does not fit: {error}", "start the run anew"
            ) from error

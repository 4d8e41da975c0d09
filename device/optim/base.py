"""What every optimiser is: updates parameters in place, and can be journalled."""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping

import numpy as np

from slfac.device.optim.clip import Clip
from slfac.wire.errors import SettingsError, TrainingError

Arrays = dict[str, np.ndarray]
_STEP = "step"
_AFRESH = "the journal is of another front or optimiser; start afresh without it"


class Optimizer(abc.ABC):
    """Updates named float32 parameters in place, step by step, as ``torch.optim`` does.

    A parameter without a gradient keeps its value, as in torch. State lives in *slots*
    (the momentum, say), one array a parameter each, made at the first step. Scratch
    arrays are made once and reused.

    Args:
        lr: Learning rate.
        weight_decay: Weight decay; how it acts is the subclass's.
        clip: What gradients are held to, before weight decay.
    """

    slots: tuple[str, ...] = ()
    _scratch_arrays = 1

    def __init__(self, lr: float, weight_decay: float, clip: Clip) -> None:
        self.lr = lr
        self.weight_decay = weight_decay
        self.clip = clip
        self.steps = 0
        self._state: dict[str, Arrays] = {slot: {} for slot in self.slots}
        # Gradients are only read: a clipped one is written apart.
        self._rows = self._scratch_arrays + bool(clip)
        self._scratch = np.empty((self._rows, 0), np.float32)

    @property
    @abc.abstractmethod
    def spec(self) -> str:
        """Canonical spec string; ``make_optimizer(optimizer.spec)`` gives an equal one."""

    @property
    def lr(self) -> float:
        """Learning rate, which a schedule may change between steps.

        Raises:
            SettingsError: On setting: it is negative or not finite.
        """
        return self._lr

    @lr.setter
    def lr(self, value: float) -> None:
        if not (math.isfinite(value) and value >= 0):
            raise SettingsError(f"learning rate is {value}", "use a finite number from 0")
        self._lr = float(value)

    def step(self, params: Mapping[str, np.ndarray], grads: Mapping[str, np.ndarray]) -> None:
        """Update parameters in place.

        Args:
            params: Writable C-contiguous float32 arrays by name.
            grads: Gradients of some or all of them, float32, of the same shapes; they are
                read only.

        Raises:
            TrainingError: A gradient or the state does not fit its parameter.
        """
        for name, grad in grads.items():
            self._check(name, params.get(name), grad)
        self.steps += 1
        share = self.clip.share(grads.values())
        for name, grad in grads.items():
            param = params[name]
            scratch = self._scratch_like(param)
            taken = self.clip.write(grad, share, scratch.pop()) if self.clip else grad
            self._update(name, param, taken, scratch)

    def state(self) -> Arrays:
        """Everything but the settings, copied: ``step`` and ``<slot>/<parameter>``."""
        arrays = {_STEP: np.array(self.steps, np.int64)}
        for slot, held in self._state.items():
            arrays.update({f"{slot}/{name}": array.copy() for name, array in held.items()})
        return arrays

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Take back what :meth:`state` gave; the arrays are copied.

        Args:
            state: As given by an optimiser of the same family.

        Raises:
            TrainingError: The state is of another family or malformed.
        """
        held: dict[str, Arrays] = {slot: {} for slot in self.slots}
        step = state.get(_STEP)
        if step is None or step.shape != () or step.dtype != np.int64 or step < 0:
            raise TrainingError("optimiser state has no valid step count", _AFRESH)
        for key, array in state.items():
            slot, _, name = key.partition("/")
            if key == _STEP:
                continue
            if slot not in held or array.dtype != np.float32:
                raise TrainingError(f"optimiser state {key!r} ({array.dtype}) is unknown", _AFRESH)
            held[slot][name] = array.copy()
        self.steps = int(step)
        self._state = held

    @abc.abstractmethod
    def _update(
        self, name: str, param: np.ndarray, grad: np.ndarray, scratch: list[np.ndarray]
    ) -> None:
        """Update one parameter; ``scratch`` holds arrays of its shape to write over."""

    def _slot(self, slot: str, name: str, param: np.ndarray) -> tuple[np.ndarray, bool]:
        """State of one parameter, and whether it was made just now (of zeros)."""
        held = self._state[slot]
        if name in held:
            return held[name], False
        held[name] = np.zeros_like(param)
        return held[name], True

    def _scratch_like(self, param: np.ndarray) -> list[np.ndarray]:
        if self._scratch.shape[1] < param.size:
            self._scratch = np.empty((self._rows, param.size), np.float32)
        return [row[: param.size].reshape(param.shape) for row in self._scratch]

    def _check(self, name: str, param: np.ndarray | None, grad: np.ndarray) -> None:
        if param is None:
            raise TrainingError(f"gradient {name!r} is of no parameter", "export the bundle again")
        if param.dtype != np.float32 or not param.flags.writeable:
            raise TrainingError(f"parameter {name!r} ({param.dtype}) is not writable float32")
        if grad.shape != param.shape or grad.dtype != np.float32:
            raise TrainingError(
                f"gradient {name!r} is {grad.dtype} {grad.shape}, "
                f"its parameter float32 {param.shape}",
                "export the bundle again",
            )
        for slot, held in self._state.items():
            if name in held and held[name].shape != param.shape:
                raise TrainingError(
                    f"optimiser state {slot}/{name} has shape {held[name].shape}, "
                    f"its parameter {param.shape}",
                    _AFRESH,
                )

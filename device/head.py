"""The head on the device: one ONNX graph from what the middle gives to loss and gradients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime

from slfac.device.runner import runner_for
from slfac.wire.bundle import Bundle, State
from slfac.wire.errors import BundleError
from slfac.wire.providers import CPU, Provider
from slfac.wire.runtime import open_session


@dataclass(frozen=True)
class HeadStep:
    """What a training step of the head gives.

    Attributes:
        loss: Mean loss of the batch.
        crossing: Gradient of each tensor that the middle gave, in the manifest's order.
        gradients: Gradients of the head's parameters, by name.
        buffers: New values of its buffers, by name.
    """

    loss: float
    crossing: list[np.ndarray]
    gradients: State
    buffers: State


class Head:
    """The graph of the head; what it trains is held by the front.

    Args:
        bundle: Where the graph comes from.
        threads: Threads of onnxruntime.
        low_memory: As :class:`slfac.device.front.Front` takes it.
        provider: What computes the graph.

    Attributes:
        spec: What the manifest says of it.

    Raises:
        BundleError: The bundle has no head.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        threads: int = 1,
        low_memory: bool = False,
        provider: Provider = CPU,
    ) -> None:
        if not bundle.manifest.head:
            raise BundleError(f"bundle {bundle.path} has no head", "export it with --head-cut")
        self.spec = bundle.manifest.head
        self._bundle = bundle
        self._threads = threads
        self._low_memory = low_memory
        self._provider = provider
        self._runner = runner_for(provider)
        self._classes = bundle.manifest.loss == "cross_entropy"
        own = set(self.spec.state)
        self._buffers = [b for b in bundle.manifest.buffers if b.tensor.name in own]
        self._session: onnxruntime.InferenceSession | None = None
        self._frozen: State = {}

    def step(
        self, state: State, inputs: Sequence[np.ndarray], target: np.ndarray, draws: State
    ) -> HeadStep:
        """Forward and backward; nothing is changed.

        Args:
            state: The device's parameters and buffers by name.
            inputs: What the middle gave, ``(B, ...) float32`` each.
            target: As :func:`slfac.data.make_targets` makes them.
            draws: The random numbers that the manifest asks for, by name.

        Returns:
            Loss, gradients and new buffers.

        Raises:
            BundleError: The graph cannot be opened.
            TrainingError: onnxruntime failed.
        """
        spec, run = self.spec, self._runner
        session = self._opened(state)
        arrays = {**state, **draws}
        arrays.update({s.name: value for s, value in zip(spec.inputs, inputs, strict=True)})
        arrays[spec.target] = target.astype(np.int64) if self._classes else target
        feed = {name: run.put(arrays[name]) for name in spec.step.inputs}
        outputs = run.run(session, spec.step.outputs, feed)
        made = {
            name: run.get(value) for name, value in zip(spec.step.outputs, outputs, strict=True)
        }
        return HeadStep(
            loss=float(made[spec.loss]),
            crossing=[made[spec.input_gradients[s.name]] for s in spec.inputs],
            gradients={name: made[output] for name, output in spec.gradients.items()},
            buffers=self._new_buffers(state, made),
        )

    def _new_buffers(self, state: State, made: State) -> State:
        found: State = {}
        for buffer in self._buffers:
            name = buffer.tensor.name
            if buffer.update == "graph":
                found[name] = made[buffer.output]
            elif buffer.update == "count":
                found[name] = state[name] + 1
        return found

    def _opened(self, state: State) -> onnxruntime.InferenceSession:
        """The session, with the frozen tensors as they are: opening it costs time."""
        frozen = {name: state[name] for name in self.spec.step.frozen}
        same = all(
            frozen[name] is old or np.array_equal(frozen[name], old)
            for name, old in self._frozen.items()
        )
        if self._session is None or not same:
            self._session = open_session(
                self._bundle,
                self.spec.step,
                frozen,
                threads=self._threads,
                low_memory=self._low_memory,
                provider=self._provider,
            )
        self._frozen = frozen
        return self._session

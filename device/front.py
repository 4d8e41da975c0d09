"""The front on the device: two ONNX graphs, and the arrays that the device trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnxruntime

from slfac.device.runner import Value, runner_for
from slfac.wire.bundle import Bundle, State, check_front_state
from slfac.wire.errors import TrainingError
from slfac.wire.providers import CPU, Provider
from slfac.wire.runtime import open_session


class Front:
    """Parameters and buffers of the device, with the front's graphs.

    Where the bundle has a head, its parameters and buffers are among them, for whoever runs
    that: see :class:`slfac.device.head.Head`.

    One step is :meth:`forward`, then :meth:`backward`, for each of its parts; between the two
    the front holds the part's residuals. Nothing changes before :meth:`backward` returns, so a
    step that never gets its gradient leaves no trace.

    Args:
        bundle: Where graphs and initial values come from.
        threads: Threads of onnxruntime.
        low_memory: Whether onnxruntime gives memory back between its operators, at the cost
            of time.
        provider: What computes the graphs.

    Attributes:
        provider: What computes the graphs.
        parameters: Trainable arrays by name; an optimiser updates them in place.
        buffers: Running statistics and counters by name.

    Raises:
        BundleError: A graph cannot be loaded, or the state does not fit.
        SettingsError: onnxruntime cannot use the provider.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        threads: int = 1,
        low_memory: bool = False,
        provider: Provider = CPU,
    ) -> None:
        manifest = bundle.manifest
        self.provider = provider
        self._runner = runner_for(provider)
        self._manifest = manifest
        self._bundle = bundle
        self._threads = threads
        self._low_memory = low_memory
        self._frozen = {
            name
            for graph in (manifest.graphs.forward, manifest.graphs.backward)
            for name in graph.frozen
        }
        self._sessions: tuple[onnxruntime.InferenceSession, onnxruntime.InferenceSession]
        self._gradients = manifest.graphs.gradients
        others = set(manifest.head.state) if manifest.head else set()
        self._own_buffers = [b for b in manifest.buffers if b.tensor.name not in others]
        self._outputs = [b.output for b in self._own_buffers if b.update == "graph"]
        self._wanted = [
            *self._gradients.values(),
            *(name for name in self._outputs if name in manifest.graphs.backward.outputs),
        ]
        self._parts: dict[int, dict[str, Value]] = {}
        self.parameters: State = {}
        self.buffers: State = {}
        self.load(bundle.front_state())

    def load(self, state: State) -> None:
        """Take over a front's state, copied.

        Args:
            state: Parameters and buffers by name.

        Raises:
            BundleError: It does not fit the manifest.
        """
        check_front_state(self._manifest, state)
        self.parameters = {s.name: state[s.name].copy() for s in self._manifest.parameters}
        before = self.buffers
        names = [buffer.tensor.name for buffer in self._manifest.buffers]
        self.buffers = {name: state[name].copy() for name in names}
        self._parts.clear()
        if not before or any(not np.array_equal(before[n], state[n]) for n in self._frozen):
            self._open()

    def state(self) -> State:
        """Parameters and buffers by name; not copied."""
        return {**self.parameters, **self.buffers}

    @property
    def held_bytes(self) -> int:
        """Bytes held for backward passes: their inputs, parameters and buffers excepted."""
        inputs = {*self._manifest.graphs.backward.inputs} - {*self.parameters, *self.buffers}
        held = [part[name] for part in self._parts.values() for name in inputs if name in part]
        return sum(map(self._runner.size_bytes, held))

    def _open(self) -> None:
        graphs = self._manifest.graphs
        forward, backward = (
            open_session(
                self._bundle,
                graph,
                self.buffers,
                threads=self._threads,
                low_memory=self._low_memory,
                provider=self.provider,
            )
            for graph in (graphs.forward, graphs.backward)
        )
        self._sessions = forward, backward

    def forward(self, x: np.ndarray, draws: State | None = None, part: int = 0) -> list[np.ndarray]:
        """Run the forward graph and keep its residuals.

        Args:
            x: ``(B, ...) float32``, preprocessed.
            draws: The random numbers that the manifest asks for, by name; see
                :func:`slfac.device.draws.draw`.
            part: Of the step; what an earlier call kept for it is dropped.

        Returns:
            Smashed data, one ``(B, ...) float32`` array per smashed tensor.

        Raises:
            TrainingError: onnxruntime failed.
        """
        graphs, run = self._manifest.graphs, self._runner
        arrays = {**self.parameters, **self.buffers, **(draws or {})}
        arrays[self._manifest.input.name] = x
        names = dict.fromkeys((*graphs.forward.inputs, *graphs.backward.inputs))
        values = {name: run.put(arrays[name]) for name in names if name in arrays}
        feed = {name: values[name] for name in graphs.forward.inputs}
        outputs = run.run(self._sessions[0], graphs.forward.outputs, feed)
        values.update(zip(graphs.forward.outputs, outputs, strict=True))
        self._parts[part] = values
        return [run.get(values[spec.name]) for spec in self._manifest.smashed]

    def backward(self, gradients: Sequence[np.ndarray], part: int = 0) -> State:
        """Run the backward graph of a part's forward, and take over new statistics.

        Args:
            gradients: Gradient of each smashed tensor, in the manifest's order.
            part: Of the step.

        Returns:
            Gradients of the parameters by name.

        Raises:
            TrainingError: onnxruntime failed, or there was no forward.
        """
        if part not in self._parts:
            raise TrainingError("a gradient came without a forward pass before it")
        graphs, run, values = self._manifest.graphs, self._runner, self._parts[part]
        for spec, gradient in zip(self._manifest.smashed, gradients, strict=True):
            values[graphs.smashed_gradients[spec.name]] = run.put(gradient)
        feed = {name: values[name] for name in graphs.backward.inputs}
        outputs = run.run(self._sessions[1], self._wanted, feed)
        values.update(zip(self._wanted, outputs, strict=True))
        found = {name: run.get(values[output]) for name, output in self._gradients.items()}
        self.buffers.update(self._new_buffers(values))
        del self._parts[part]
        return found

    def _new_buffers(self, values: Mapping[str, Value]) -> State:
        found: State = {}
        for buffer in self._own_buffers:
            name = buffer.tensor.name
            if buffer.update == "graph":
                found[name] = self._runner.get(values[buffer.output])
            elif buffer.update == "count":
                found[name] = self.buffers[name] + 1
        return found

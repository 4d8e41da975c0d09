"""How a graph is run: on NumPy arrays, or on values that stay in a provider's memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
from onnxruntime import InferenceSession, OrtValue

from slfac.wire.errors import TrainingError
from slfac.wire.providers import Provider

# An array or an OrtValue: only the runner that made it looks inside.
Value: TypeAlias = Any


class Runner(Protocol):
    """Runs graphs on values of its own kind."""

    def put(self, array: np.ndarray) -> Value:
        """Make a value of an array."""

    def get(self, value: Value) -> np.ndarray:
        """Make an array of a value."""

    def size_bytes(self, value: Value) -> int:
        """Bytes that a value takes."""

    def run(
        self, session: InferenceSession, outputs: Sequence[str], feed: Mapping[str, Value]
    ) -> list[Value]:
        """Run a graph.

        Args:
            session: The graph.
            outputs: Names of what is wanted.
            feed: Its inputs by name.

        Returns:
            One value an output.

        Raises:
            TrainingError: onnxruntime failed.
        """


class ArrayRunner:
    """Runs on arrays: on a CPU, binding them beforehand was measured to gain nothing."""

    def put(self, array: np.ndarray) -> Value:
        """The array itself."""
        return array

    def get(self, value: Value) -> np.ndarray:
        """The array itself."""
        array: np.ndarray = value
        return array

    def size_bytes(self, value: Value) -> int:
        """Bytes of the array."""
        return self.get(value).nbytes

    def run(
        self, session: InferenceSession, outputs: Sequence[str], feed: Mapping[str, Value]
    ) -> list[Value]:
        """Run a graph; see :meth:`Runner.run`."""
        try:
            results: list[Value] = session.run(list(outputs), dict(feed))
        except Exception as error:
            raise _failed(error) from error
        return results


class BoundRunner:
    """Runs on values in a provider's memory, so that residuals never cross to the host.

    Args:
        memory: The memory, as ``OrtValue.ortvalue_from_numpy`` names it.
    """

    def __init__(self, memory: str) -> None:
        self._memory = memory

    def put(self, array: np.ndarray) -> Value:
        """Copy an array into the memory; memory of the host is shared with the array."""
        try:
            return OrtValue.ortvalue_from_numpy(np.asarray(array, order="C"), self._memory, 0)
        except Exception as error:
            raise _failed(error) from error

    def get(self, value: Value) -> np.ndarray:
        """Copy a value to the host."""
        try:
            array: np.ndarray = value.numpy()
        except Exception as error:
            raise _failed(error) from error
        return array

    def size_bytes(self, value: Value) -> int:
        """Bytes of the value."""
        size: int = value.tensor_size_in_bytes()
        return size

    def run(
        self, session: InferenceSession, outputs: Sequence[str], feed: Mapping[str, Value]
    ) -> list[Value]:
        """Run a graph; see :meth:`Runner.run`."""
        try:
            binding = session.io_binding()
            for name, value in feed.items():
                binding.bind_ortvalue_input(name, value)
            for name in outputs:
                binding.bind_output(name, self._memory, 0)
            session.run_with_iobinding(binding)
            results: list[Value] = binding.get_outputs()
        except Exception as error:
            raise _failed(error) from error
        return results


def runner_for(provider: Provider) -> Runner:
    """The runner that suits a provider.

    Args:
        provider: The provider.

    Returns:
        A runner whose values live where the provider computes.
    """
    return BoundRunner(provider.memory) if provider.memory else ArrayRunner()


def _failed(error: Exception) -> TrainingError:
    return TrainingError(f"onnxruntime failed on a training graph: {error}")

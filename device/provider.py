"""Chooses what computes the front, and trusts it only after it has done what the CPU does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np

from slfac.device.draws import draw
from slfac.device.front import Front
from slfac.wire.bundle import Bundle, State
from slfac.wire.errors import SettingsError, SlfacError, TrainingError
from slfac.wire.providers import CPU, CUDA, Provider

# What `slfac export` allows at most between onnxruntime and torch. Another order of summation
# moves a gradient by 1e-6 to 1e-3 where ReLU or max-pooling decide by the last bit; a kernel
# that is wrong, or a GPU that the build holds no code for, is off by all of it.
TOLERANCE = 1e-2
_BATCH = 4
# A tensor of noise, as the gradient of a bias before BatchNorm, is measured by the others.
_FLOOR = 1e-3
_SEED = 0


class Steps(Protocol):
    """A front that makes steps on NumPy arrays; see :class:`slfac.device.front.Front`."""

    @property
    def buffers(self) -> State:
        """Running statistics and counters by name."""

    def forward(self, x: np.ndarray, draws: State | None = None) -> list[np.ndarray]:
        """Compute smashed data."""

    def backward(self, gradients: Sequence[np.ndarray]) -> State:
        """Compute gradients of the parameters by name; takes over new statistics."""


def open_front(
    bundle: Bundle,
    *,
    threads: int,
    low_memory: bool,
    provider: str,
    on_status: Callable[[str], None],
    accelerator: Provider = CUDA,
) -> Front:
    """Open a front on the CPU, or on an accelerator that has passed the self-test.

    Args:
        bundle: The bundle.
        threads: Threads of onnxruntime.
        low_memory: As :class:`slfac.device.front.Front` takes it.
        provider: ``cpu``, the accelerator's label, or ``auto`` for the CPU where that fails.
        on_status: Told what was chosen, and why.
        accelerator: What is tried for ``auto`` and for its label.

    Returns:
        The front, with the bundle's weights.

    Raises:
        BundleError: A graph cannot be loaded.
        SettingsError: The accelerator was asked for by name, and is missing or failed.
    """
    on_cpu = Front(bundle, threads=threads, low_memory=low_memory, provider=CPU)
    if provider == CPU.label:
        return on_cpu
    try:
        front = Front(bundle, threads=threads, low_memory=low_memory, provider=accelerator)
        error = self_test(front, on_cpu, bundle)
    except SlfacError as failure:
        if provider == accelerator.label:
            raise SettingsError(
                f"setting provider is {provider!r}: {failure.what}",
                failure.remedy or f"train with --provider {CPU.label}",
            ) from failure
        on_status(f"training on the CPU, not on {accelerator.label}: {failure.what}")
        on_cpu.load(bundle.front_state())
        return on_cpu
    front.load(bundle.front_state())
    on_status(
        f"training on {accelerator.label}, which agrees with the CPU: error {error:.1e} of at "
        f"most {TOLERANCE:.0e}"
    )
    return front


def self_test(front: Steps, reference: Steps, bundle: Bundle) -> float:
    """Make one step with two fronts of the same weights and compare all that comes out.

    Args:
        front: The front to test; its statistics change.
        reference: The front to believe; its statistics change.
        bundle: What both were opened from.

    Returns:
        Largest relative error of a tensor: root mean square of the difference over that of
        the reference.

    Raises:
        TrainingError: It is more than :data:`TOLERANCE`, or not finite, or onnxruntime failed.
    """
    given, expected = (_step(one, bundle) for one in (front, reference))
    worst = max(
        (error, f"{group} {name!r}")
        for group, tensors in expected.items()
        for name, error in _errors(given[group], tensors).items()
    )
    # Not "more than", which NaN never is.
    if not worst[0] <= TOLERANCE:
        raise TrainingError(
            f"its {worst[1]} differs from the CPU's by {worst[0]:.1e} of its size, "
            f"{TOLERANCE:.0e} is allowed"
        )
    return worst[0]


def _step(front: Steps, bundle: Bundle) -> dict[str, State]:
    manifest = bundle.manifest
    rng = np.random.Generator(np.random.Philox(_SEED))
    x = rng.standard_normal((_BATCH, *manifest.input.shape), dtype=np.float32)
    smashed = front.forward(x, draw(manifest.random, _BATCH, _SEED, 0, 0, 0))
    gradients = front.backward([rng.standard_normal(z.shape, dtype=np.float32) for z in smashed])
    return {
        "smashed data": {spec.name: z for spec, z in zip(manifest.smashed, smashed, strict=True)},
        "gradient": gradients,
        "statistic": {name: value.copy() for name, value in front.buffers.items()},
    }


def _errors(given: Mapping[str, np.ndarray], expected: State) -> dict[str, float]:
    sizes = {name: _rms(array) for name, array in expected.items()}
    least = max(_FLOOR * max(sizes.values(), default=0.0), float(np.finfo(np.float32).tiny))
    found = {}
    for name, array in expected.items():
        error = _rms(given[name].astype(np.float64) - array) / max(sizes[name], least)
        found[name] = error if np.isfinite(error) else np.inf
    return found


def _rms(array: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(array.astype(np.float64))))) if array.size else 0.0

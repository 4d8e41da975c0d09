"""Random numbers of a training step, for dropout and its kin: keyed, so that they repeat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from slfac.wire.bundle import State
from slfac.wire.manifest import RandomSpec

# Keeps these numbers apart from those that codecs draw for the same step.
_DOMAIN = 0x64726177


def draw(  # noqa: PLR0917 - the fields of the key, in their order
    specs: Sequence[RandomSpec],
    batch: int,
    seed: int,
    device: int,
    round_: int,
    step: int,
    part: int = 0,
) -> State:
    """Draw what a step of the front needs.

    The same arguments give the same numbers on every machine, so that a step that is
    repeated after a crash drops what it dropped before.

    Args:
        specs: What the manifest asks for.
        batch: Samples of the part.
        seed: The run's seed.
        device: Index of the device.
        round_: Round of the step.
        step: The device's own step.
        part: Part of the step.

    Returns:
        Name -> uniform numbers in [0, 1), ``(B, ...)`` or ``(...) float32``.
    """
    drawn: State = {}
    for layer, spec in enumerate(specs):
        # A first part draws what a step in one part does.
        entropy = (_DOMAIN, seed, device, round_, step, layer, *((part,) if part else ()))
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence(entropy)))
        shape = (batch, *spec.shape) if spec.per_sample else spec.shape
        drawn[spec.name] = rng.random(shape, dtype=np.float32)
    return drawn

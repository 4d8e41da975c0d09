"""Averaging the fronts of several devices (FedAvg)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from slfac.server.peers import Peers
from slfac.wire.bundle import State


def average_fronts(
    states: Sequence[State], samples: Sequence[int], peers: Peers | None = None
) -> State:
    """Mean of parameters and running statistics, weighted by samples.

    Sums run in the order given and in float64, so that equal fronts in an equal order
    give equal bytes. Integer buffers (BatchNorm's counters) take the largest value.

    Args:
        states: One per device, in the order of their indices.
        samples: Samples behind each.
        peers: Ranks that have further ones; each has one at least, if only without samples.

    Returns:
        The averaged front.
    """
    peers = peers or Peers()
    (total,) = peers.sums(sum(samples))
    weights = [count / total for count in samples]
    averaged: State = {}
    means: dict[str, np.ndarray] = {}
    # Files of tensors come in any order, and the ranks must go by the same.
    for name, first in sorted(states[0].items()):
        tensors = [state[name] for state in states]
        if first.dtype.kind in "iu":
            largest = torch.from_numpy(np.asarray(np.maximum.reduce(tensors)))
            averaged[name] = torch.stack(peers.gather_tensor(largest)).amax(0).numpy()
            continue
        means[name] = np.zeros(first.shape, np.float64)
        for weight, tensor in zip(weights, tensors, strict=True):
            means[name] += weight * tensor.astype(np.float64)
    peers.add([torch.from_numpy(mean) for mean in means.values()])
    return averaged | {name: mean.astype(states[0][name].dtype) for name, mean in means.items()}

"""Scores fronts in torch, where the back half is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from slfac.server.accelerator import memory_errors
from slfac.server.evaluate import Compute, Evaluator
from slfac.testbed.simulate.engine import Shared
from slfac.testbed.simulate.front import call_half, to_numpy


class TorchEvaluator(Evaluator):
    """As :class:`slfac.server.evaluate.Evaluator`, with the front in torch.

    Args:
        shared: What devices have in common.
        data: Data set with a test split.

    Raises:
        DataError: The data set cannot be read, or does not fit the model.
    """

    def __init__(self, shared: Shared, data: Path) -> None:
        super().__init__(shared.bundle, data, threads=0)
        self._half = shared.halves.front
        self._device = shared.device

    def open_front(self, front: Mapping[str, np.ndarray]) -> Compute:
        """Make a front ready; see :meth:`slfac.server.evaluate.Evaluator.open_front`."""
        names = [name for name in self._half.state_dict() if name in front]
        given = {name: torch.from_numpy(np.array(front[name])).to(self._device) for name in names}

        @memory_errors("a front is evaluated")
        @torch.no_grad()
        def compute(x: np.ndarray) -> list[np.ndarray]:
            inputs = (torch.from_numpy(x).to(self._device),)
            self._half.eval()
            try:
                made = call_half(self._half, given, inputs, ())
            finally:
                self._half.train()
            return [to_numpy(tensor) for tensor in made]

        return compute

"""What cannot be trained on a device although torch would trace it: found before the trace."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from slfac.export.batchnorm import BatchStatistics
from slfac.export.draws import Draws
from slfac.wire.errors import ExportError


def refuse_untrainable(half: nn.Module, *input_shapes: tuple[int, ...]) -> None:
    """Refuse a front or head whose training step does more than its graphs could.

    Args:
        half: It, in training mode; it is not changed.
        *input_shapes: Shape of each of its inputs, without the batch axis.

    Raises:
        ExportError: BatchNorm averages its statistics over all batches, or a step changes a
            buffer that is no running statistic of BatchNorm; the message names the layer.
    """
    for name, module in half.named_modules():
        if (
            isinstance(module, _BatchNorm)
            and module.training
            and module.track_running_stats
            and module.momentum is None
        ):
            raise ExportError(
                f"{_title(half, name)} has no momentum: it averages over all batches so far",
                "give it a momentum, such as 0.1, or freeze it (--freeze-bn)",
            )
    half = copy.deepcopy(half)
    before = {name: buffer.clone() for name, buffer in half.named_buffers()}
    with torch.no_grad(), BatchStatistics(dict(half.named_buffers())), Draws(_halves):
        half(*(torch.ones(2, *shape) for shape in input_shapes))
    for name, buffer in half.named_buffers():
        if not torch.equal(buffer, before[name]):
            raise ExportError(
                f"{_title(half, name.rpartition('.')[0])} changes its buffer {name!r} in a "
                "training step, and only BatchNorm's statistics may be",
                "remove that, or choose a cut before it",
            )


def _halves(shape: Sequence[int]) -> torch.Tensor:
    return torch.full(tuple(shape), 0.5)


def _title(front: nn.Module, path: str) -> str:
    if ".parametrizations" in path:
        # A parametrization is the layer's that it is on.
        path = path.partition(".parametrizations")[0]
    return f"layer {path!r} ({type(front.get_submodule(path)).__name__})"

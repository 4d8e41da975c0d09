"""The back half's optimiser.

The devices' NumPy optimisers take the same steps (``slfac.device.optim``).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import torch

from slfac.server.optim_spec import OptimizerSpec, parse_optimizer

_KINDS: Final[dict[str, Any]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
}


def make_torch_optimizer(spec: str, parameters: Iterable[torch.Tensor]) -> torch.optim.Optimizer:
    """An optimiser from its spec.

    Args:
        spec: As :mod:`slfac.server.optim_spec` has it.
        parameters: What it updates.

    Returns:
        The optimiser.

    Raises:
        SettingsError: The spec is malformed, or a field is unknown or out of range.
    """
    chosen = parse_optimizer(spec)
    optimizer: torch.optim.Optimizer = _KINDS[chosen.name](parameters, **chosen.arguments)
    if chosen.clip_norm or chosen.clip_value:
        _clip_before_steps(optimizer, chosen)
    return optimizer


def _clip_before_steps(optimizer: torch.optim.Optimizer, chosen: OptimizerSpec) -> None:
    """Have gradients clipped in each step itself, so that none is made without it."""

    def clip(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        if chosen.clip_norm:
            torch.nn.utils.clip_grad_norm_(parameters, chosen.clip_norm)
        else:
            torch.nn.utils.clip_grad_value_(parameters, chosen.clip_value)

    optimizer.register_step_pre_hook(clip)

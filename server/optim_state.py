"""The state of a torch optimiser as named tensors, to be saved without pickle.

Each tensor is named ``INDEX.SLOT`` (``0.momentum_buffer``), INDEX counting the parameters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

Groups = list[dict[str, Any]]


def flatten_optimizer(optimizer: torch.optim.Optimizer) -> tuple[dict[str, torch.Tensor], Groups]:
    """Take an optimiser's state apart.

    Args:
        optimizer: The optimiser.

    Returns:
        Its tensors by name, and the settings of its parameter groups.
    """
    state = optimizer.state_dict()
    groups = [{k: v for k, v in group.items() if k != "params"} for group in state["param_groups"]]
    return dict(_named(state["state"])), groups


def load_optimizer(
    optimizer: torch.optim.Optimizer,
    tensors: Mapping[str, torch.Tensor],
    groups: Sequence[Mapping[str, Any]],
) -> None:
    """Give an optimiser the state of another for the same parameters.

    Args:
        optimizer: The optimiser.
        tensors: As :func:`flatten_optimizer` gives them.
        groups: Likewise.

    Raises:
        ValueError: They do not fit it.
    """
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        index, _, slot = name.partition(".")
        state.setdefault(int(index), {})[slot] = tensor
    present = optimizer.state_dict()["param_groups"]
    restored = [{**old, "params": new["params"]} for old, new in zip(groups, present, strict=True)]
    optimizer.load_state_dict({"state": state, "param_groups": restored})


def _named(state: Mapping[int, Mapping[str, Any]]) -> Iterator[tuple[str, torch.Tensor]]:
    for index, values in state.items():
        for key, value in values.items():
            if isinstance(value, torch.Tensor):
                yield f"{index}.{key}", value

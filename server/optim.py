"""The back half's optimiser, from the same specs that devices read.

``sgd:lr=0.05,momentum=0.9,weight_decay=0``, ``adam:lr=0.001,beta1=0.9,beta2=0.999,
eps=1e-8,weight_decay=0`` and ``adamw`` with the same fields. The devices' NumPy optimisers
take the same steps (``slfac.device.optim``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

from slfac.codec.spec import Fields, parse_spec
from slfac.wire.errors import SettingsError

_Maker = Callable[[Iterable[torch.nn.Parameter]], torch.optim.Optimizer]
# Bounds and defaults are those of slfac.device.optim: one spec serves both ends.
_HIGHEST = 1e6
_ALMOST_ONE = 1 - 1e-12


def make_torch_optimizer(
    spec: str, parameters: Iterable[torch.nn.Parameter]
) -> torch.optim.Optimizer:
    """An optimiser from its spec.

    Args:
        spec: See the module's docstring.
        parameters: What it updates.

    Returns:
        The optimiser.

    Raises:
        SettingsError: The spec is malformed, or a field is unknown or out of range.
    """
    return _maker(spec)(parameters)


def check_optimizer(spec: str) -> None:
    """Check a spec without making an optimiser.

    Args:
        spec: See the module's docstring.

    Raises:
        SettingsError: The spec is malformed, or a field is unknown or out of range.
    """
    _maker(spec)


def _maker(spec: str) -> _Maker:
    name, values = parse_spec(spec)
    fields = Fields(name, values)
    if name == "sgd":
        arguments = _sgd(fields)
    elif name in ("adam", "adamw"):
        arguments = _adam(fields, decay=0.01 if name == "adamw" else 0.0)
    else:
        raise SettingsError(f"optimiser {name!r} is unknown", "use sgd, adam or adamw")
    fields.finish()
    kinds: dict[str, Any] = {
        "sgd": torch.optim.SGD,
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
    }

    def make(parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        optimizer: torch.optim.Optimizer = kinds[name](parameters, **arguments)
        return optimizer

    return make


def _sgd(fields: Fields) -> dict[str, Any]:
    return {
        "lr": fields.number("lr", 0.001, low=0.0, high=_HIGHEST),
        "momentum": fields.number("momentum", 0.0, low=0.0, high=1.0),
        "weight_decay": fields.number("weight_decay", 0.0, low=0.0, high=_HIGHEST),
    }


def _adam(fields: Fields, *, decay: float) -> dict[str, Any]:
    return {
        "lr": fields.number("lr", 0.001, low=0.0, high=_HIGHEST),
        "betas": (
            fields.number("beta1", 0.9, low=0.0, high=_ALMOST_ONE),
            fields.number("beta2", 0.999, low=0.0, high=_ALMOST_ONE),
        ),
        "eps": fields.number("eps", 1e-8, low=0.0, high=_HIGHEST),
        "weight_decay": fields.number("weight_decay", decay, low=0.0, high=_HIGHEST),
    }

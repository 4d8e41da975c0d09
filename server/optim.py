"""The back half's optimiser, from the same specs that devices read.

``sgd:lr=0.05,momentum=0.9,weight_decay=0``, ``adam:lr=0.001,beta1=0.9,beta2=0.999,
eps=1e-8,weight_decay=0`` and ``adamw`` with the same fields. Each takes ``clip_norm`` (the
largest norm of all gradients together) or ``clip_value`` (the largest magnitude of an
element). The devices' NumPy optimisers take the same steps (``slfac.device.optim``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

from slfac.codec.spec import Fields, parse_spec
from slfac.wire.errors import SettingsError

_Maker = Callable[[Iterable[torch.Tensor]], torch.optim.Optimizer]
_Hook = Callable[..., None]
# Bounds and defaults are those of slfac.device.optim: one spec serves both ends.
_HIGHEST = 1e6
_ALMOST_ONE = 1 - 1e-12


def make_torch_optimizer(spec: str, parameters: Iterable[torch.Tensor]) -> torch.optim.Optimizer:
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
    clip = _clip(fields)
    fields.finish()
    kinds: dict[str, Any] = {
        "sgd": torch.optim.SGD,
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
    }

    def make(parameters: Iterable[torch.Tensor]) -> torch.optim.Optimizer:
        optimizer: torch.optim.Optimizer = kinds[name](parameters, **arguments)
        if clip is not None:
            optimizer.register_step_pre_hook(clip)
        return optimizer

    return make


def _clip(fields: Fields) -> _Hook | None:
    """What an optimiser does before each step, so that no step is made without it."""
    if fields.has("clip_norm") and fields.has("clip_value"):
        raise SettingsError("clip_norm and clip_value are both given", "give one of them")
    norm = fields.number("clip_norm", 0.0, low=0.0, high=_HIGHEST, above_low=True)
    value = fields.number("clip_value", 0.0, low=0.0, high=_HIGHEST, above_low=True)
    if not norm and not value:
        return None

    def clip(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        if norm:
            torch.nn.utils.clip_grad_norm_(parameters, norm)
        else:
            torch.nn.utils.clip_grad_value_(parameters, value)

    return clip


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

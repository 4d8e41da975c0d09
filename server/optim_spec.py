"""Specs of the back half's optimiser, the same that devices read.

``sgd:lr=0.05,momentum=0.9,weight_decay=0``, ``adam:lr=0.001,beta1=0.9,beta2=0.999,
eps=1e-8,weight_decay=0`` and ``adamw`` with the same fields. Each takes ``clip_norm`` (the
largest norm of all gradients together) or ``clip_value`` (the largest magnitude of an
element).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from slfac.codec.spec import Fields, parse_spec
from slfac.wire.errors import SettingsError

# Bounds and defaults are those of slfac.device.optim: one spec serves both ends.
_HIGHEST = 1e6
_ALMOST_ONE = 1 - 1e-12


@dataclass(frozen=True)
class OptimizerSpec:
    """An optimiser that was chosen.

    Attributes:
        name: ``sgd``, ``adam`` or ``adamw``.
        arguments: Arguments of torch's optimiser of that name.
        clip_norm: Largest norm of all gradients together; 0 for no limit.
        clip_value: Largest magnitude of an element of a gradient; 0 for no limit.
    """

    name: str
    arguments: dict[str, Any]
    clip_norm: float
    clip_value: float


def parse_optimizer(spec: str) -> OptimizerSpec:
    """Read the spec of an optimiser.

    Args:
        spec: See the module's docstring.

    Returns:
        What it chooses.

    Raises:
        SettingsError: The spec is malformed, or a field is unknown or out of range.
    """
    name, values = parse_spec(spec)
    fields = Fields(name, values)
    if name == "sgd":
        arguments = _sgd(fields)
    elif name in ("adam", "adamw"):
        arguments = _adam(fields, decay=0.01 if name == "adamw" else 0.0)
    else:
        raise SettingsError(f"optimiser {name!r} is unknown", "use sgd, adam or adamw")
    if fields.has("clip_norm") and fields.has("clip_value"):
        raise SettingsError("clip_norm and clip_value are both given", "give one of them")
    norm = fields.number("clip_norm", 0.0, low=0.0, high=_HIGHEST, above_low=True)
    value = fields.number("clip_value", 0.0, low=0.0, high=_HIGHEST, above_low=True)
    fields.finish()
    return OptimizerSpec(name, arguments, norm, value)


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

"""Optimisers by spec string."""

from __future__ import annotations

from slfac.codec.spec import Fields, parse_spec
from slfac.device.optim.adam import Adam
from slfac.device.optim.base import Optimizer
from slfac.device.optim.clip import Clip
from slfac.device.optim.sgd import SGD
from slfac.wire.errors import SettingsError


def make_optimizer(spec: str) -> Optimizer:
    """Make an optimiser; what is not given takes torch's default.

    Args:
        spec: ``sgd:lr=0.05,momentum=0.9,weight_decay=5e-4``, ``adam:lr=1e-3,beta1=0.9,
            beta2=0.999,eps=1e-8,weight_decay=0`` or ``adamw:...`` (weight decay 0.01). Each takes
            ``clip_norm`` or ``clip_value``, above 0.

    Returns:
        An optimiser without state.

    Raises:
        SettingsError: The spec does not parse, or names an unknown optimiser or field, or
            a value out of range.
    """
    name, values = parse_spec(spec)
    fields = Fields(name, values)
    optimizer: Optimizer
    if name == "sgd":
        optimizer = SGD(
            fields.number("lr", 1e-3, low=0, high=1e6),
            momentum=fields.number("momentum", 0.0, low=0, high=1),
            weight_decay=fields.number("weight_decay", 0.0, low=0, high=1e6),
            clip=_clip(fields),
        )
    elif name in ("adam", "adamw"):
        optimizer = _make_adam(fields, decoupled=name == "adamw")
    else:
        raise SettingsError(f"optimiser is {name!r}", "use one of sgd, adam, adamw")
    fields.finish()
    return optimizer


def _make_adam(fields: Fields, *, decoupled: bool) -> Adam:
    almost_one = 1 - 1e-12
    return Adam(
        fields.number("lr", 1e-3, low=0, high=1e6),
        beta1=fields.number("beta1", 0.9, low=0, high=almost_one),
        beta2=fields.number("beta2", 0.999, low=0, high=almost_one),
        eps=fields.number("eps", 1e-8, low=0, high=1e6),
        weight_decay=fields.number("weight_decay", 0.01 if decoupled else 0.0, low=0, high=1e6),
        decoupled=decoupled,
        clip=_clip(fields),
    )


def _clip(fields: Fields) -> Clip:
    if fields.has("clip_norm") and fields.has("clip_value"):
        raise SettingsError("clip_norm and clip_value are both given", "give one of them")
    return Clip(
        norm=fields.number("clip_norm", 0.0, low=0, high=1e6, above_low=True),
        value=fields.number("clip_value", 0.0, low=0, high=1e6, above_low=True),
    )

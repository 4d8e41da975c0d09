"""Ways of split learning by name, without what carries them out: that needs torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from slfac.codec.spec import Fields, parse_spec
from slfac.wire.errors import SettingsError

_AUTO = "auto"
_STALENESS = 4


@dataclass(frozen=True)
class ModeKind:
    """What is known of a mode before it runs.

    Attributes:
        name: Its name in settings and metrics.
        together: Whether a training is for all devices at once.
        in_parts: Whether a training may come in portions.
    """

    name: str
    together: bool = False
    in_parts: bool = False


PARALLEL: Final = ModeKind("parallel", together=True, in_parts=True)
SFL_V1: Final = ModeKind("sfl-v1", in_parts=True)
SFL_V2: Final = ModeKind("sfl-v2", together=True)
RELAY: Final = ModeKind("relay", in_parts=True)
ASYNCHRONOUS: Final = ModeKind("async")
U_SHAPED: Final = ModeKind("u-shaped", together=True)
_KINDS = {kind.name: kind for kind in (PARALLEL, SFL_V1, SFL_V2, RELAY, ASYNCHRONOUS, U_SHAPED)}


@dataclass(frozen=True)
class ModeSpec:
    """A mode that was chosen.

    Attributes:
        kind: Which.
        staleness: Of ``async``, steps that a device may be ahead of the slowest.
    """

    kind: ModeKind
    staleness: int = _STALENESS


def parse_mode(spec: str, *, head: bool = False) -> ModeSpec:
    """Read the setting ``mode``.

    Args:
        spec: A name of :func:`mode_names`, ``auto``, or ``async`` with ``staleness``.
        head: Whether the bundle has a head, which decides what ``auto`` is.

    Returns:
        What it chooses.

    Raises:
        SettingsError: There is no such mode, or a field is unknown or out of range.
    """
    name, values = parse_spec(spec)
    fields = Fields(name, values)
    kinds = {**_KINDS, _AUTO: U_SHAPED if head else PARALLEL}
    if name not in kinds:
        raise SettingsError(f"mode {name!r} is unknown", f"use {', '.join(mode_names())}")
    chosen = ModeSpec(kinds[name])
    if chosen.kind is ASYNCHRONOUS:
        staleness = fields.integer("staleness", _STALENESS, low=0, high=10**6)
        chosen = ModeSpec(ASYNCHRONOUS, staleness)
    fields.finish()
    return chosen


def mode_names() -> tuple[str, ...]:
    """Names of all modes."""
    return tuple(_KINDS)

"""Ways of split learning by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from slfac.codec.spec import Fields, parse_spec
from slfac.server.back import BackHalf
from slfac.server.modes.asynchronous import Asynchronous
from slfac.server.modes.base import Mode
from slfac.server.modes.parallel import Parallel
from slfac.server.modes.relay import Relay
from slfac.server.modes.sfl_v1 import SflV1
from slfac.server.modes.sfl_v2 import SflV2
from slfac.server.modes.u_shaped import UShaped
from slfac.wire.errors import SettingsError

_AUTO = "auto"
_STALENESS = 4


@dataclass(frozen=True)
class ModeSpec:
    """A mode that was chosen.

    Attributes:
        name: Its name.
        together: Whether its trainings are for all devices at once.
        in_parts: Whether its trainings may come in portions.
        make: Makes it for a back half and the run's seed.
    """

    name: str
    together: bool
    in_parts: bool
    make: Callable[[BackHalf, int], Mode]


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
    modes: dict[str, tuple[type[Mode], Callable[[BackHalf, int], Mode]]] = {
        UShaped.name: (UShaped, lambda back, _: UShaped(back)),
        Parallel.name: (Parallel, lambda back, _: Parallel(back)),
        SflV1.name: (SflV1, SflV1),
        SflV2.name: (SflV2, SflV2),
        Relay.name: (Relay, lambda back, _: Relay(back)),
    }
    modes[_AUTO] = modes[UShaped.name if head else Parallel.name]
    if name == Asynchronous.name:
        staleness = fields.integer("staleness", _STALENESS, low=0, high=10**6)
        modes[name] = Asynchronous, lambda back, _: Asynchronous(back, staleness)
    if name not in modes:
        raise SettingsError(f"mode {name!r} is unknown", f"use {', '.join(mode_names())}")
    fields.finish()
    kind, make = modes[name]
    return ModeSpec(name=kind.name, together=kind.together, in_parts=kind.in_parts, make=make)


def make_mode(spec: str, back: BackHalf, seed: int) -> Mode:
    """A mode of its spec.

    Args:
        spec: As :func:`parse_mode` reads it.
        back: The back half.
        seed: The run's seed.

    Returns:
        The mode.

    Raises:
        SettingsError: There is no such mode, or the bundle was not made for it.
    """
    head = bool(back.manifest.head)
    chosen = parse_mode(spec, head=head)
    if head != (chosen.name == UShaped.name):
        raise SettingsError(
            f"setting mode is {spec!r}, and the bundle has {'a' if head else 'no'} head",
            "use mode u-shaped, or a bundle that was exported without --head-cut"
            if head
            else "use another mode, or export the bundle with --head-cut",
        )
    return chosen.make(back, seed)


def mode_names() -> tuple[str, ...]:
    """Names of all modes."""
    return tuple(kind.name for kind in (Parallel, SflV1, SflV2, Relay, Asynchronous, UShaped))

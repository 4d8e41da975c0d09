"""Makes the mode of a run."""

from __future__ import annotations

from slfac.server.back import BackHalf
from slfac.server.modes.asynchronous import Asynchronous
from slfac.server.modes.base import Mode
from slfac.server.modes.kinds import U_SHAPED, ModeSpec, parse_mode
from slfac.server.modes.parallel import Parallel
from slfac.server.modes.relay import Relay
from slfac.server.modes.sfl_v1 import SflV1
from slfac.server.modes.sfl_v2 import SflV2
from slfac.server.modes.u_shaped import UShaped
from slfac.wire.errors import SettingsError


def make_mode(spec: str, back: BackHalf, seed: int) -> Mode:
    """A mode of its spec.

    Args:
        spec: As :func:`slfac.server.modes.kinds.parse_mode` reads it.
        back: The back half.
        seed: The run's seed.

    Returns:
        The mode.

    Raises:
        SettingsError: There is no such mode, or the bundle was not made for it.
    """
    head = bool(back.manifest.head)
    chosen = parse_mode(spec, head=head)
    if head != (chosen.kind is U_SHAPED):
        raise SettingsError(
            f"setting mode is {spec!r}, and the bundle has {'a' if head else 'no'} head",
            "use mode u-shaped, or a bundle that was exported without --head-cut"
            if head
            else "use another mode, or export the bundle with --head-cut",
        )
    return _make(chosen, back, seed)


def _make(chosen: ModeSpec, back: BackHalf, seed: int) -> Mode:
    if chosen.kind is Asynchronous.kind:
        return Asynchronous(back, chosen.staleness)
    for drawn in (SflV1, SflV2):
        if chosen.kind is drawn.kind:
            return drawn(back, seed)
    plain: dict[str, type[Mode]] = {each.kind.name: each for each in (Parallel, Relay, UShaped)}
    return plain[chosen.kind.name](back)

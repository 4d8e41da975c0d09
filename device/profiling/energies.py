"""What phases draw, as it is written down."""

from __future__ import annotations

from typing import Any

from slfac.device.energy.attribution import attribute
from slfac.device.energy.results import Estimate, PhaseEnergy
from slfac.device.profiling.record import Interval, LeftOut, PhaseJoules
from slfac.device.profiling.recorder import Seen


def energies(seen: Seen) -> dict[str, Any]:
    """Divide the energy of a section among its phases.

    Args:
        seen: What happened in it.

    Returns:
        The fields ``energy``, ``step`` and ``left_out`` of its
        :class:`~slfac.device.profiling.record.Section`.
    """
    found = attribute(seen.timeline, seen.trace, throttled=seen.throttled)
    return {
        "energy": tuple(_phase(phase) for phase in found.phases),
        "step": _phase(found.step),
        "left_out": tuple(
            LeftOut(what=out.what, amount=round(out.amount, 6), why=out.why)
            for out in found.dropped
        ),
    }


def _phase(found: PhaseEnergy) -> PhaseJoules:
    return PhaseJoules(
        phase=found.phase,
        seconds_per_step=found.seconds_per_step,
        joules_per_step=_interval(found.joules_per_step),
        above_idle_joules_per_step=_interval(found.above_idle_joules_per_step),
        watts=_interval(found.watts),
        unresolved=found.unresolved,
    )


def _interval(found: Estimate | None) -> Interval | None:
    return None if found is None else Interval(value=found.value, low=found.low, high=found.high)

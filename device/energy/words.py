"""What is said to people about the energy of a run."""

from __future__ import annotations

from collections.abc import Iterator

from slfac.device.energy.means import MeanPhase
from slfac.device.energy.outcome import RunEnergy, Stretch
from slfac.device.energy.results import Estimate


def spent_words(spent: Stretch, scope: str) -> str:
    """Energy of a stretch of time, such as ``812 J (4.9 W, module)``.

    Args:
        spent: It.
        scope: What the sensor measures.
    """
    missing = f"{spent.missing_s:.1f} s without readings"
    if spent.known is None or spent.watts is None:
        return f"joules unknown ({missing})"
    gap = f"; {missing}" if spent.missing_s >= 0.05 else ""
    return f"{joules(spent.known)} ({spent.watts:.3g} W, {scope}{gap})"


def phase_rows(energy: RunEnergy) -> Iterator[tuple[str, ...]]:
    """Cells of a table of phases, its head first.

    Args:
        energy: What a run has taken.
    """
    yield ("phase", "ms a step", "J a step", "95 % interval", "W")
    for one in energy.phases:
        yield (one.phase, f"{one.ms:.3g}", *_figures(one))


def closing_lines(energy: RunEnergy) -> Iterator[str]:
    """What is said below that table.

    Args:
        energy: What a run has taken.
    """
    info, total, cost = energy.sensor, energy.total, energy.cost
    if info.scope is None or cost is None:
        yield "total: joules unknown, no sensor was read"
        return
    yield f"total: {_total(total)} of the {info.scope}, by sensor {info.name}"
    yield (
        f"       readings cover {total.covered_s:.1f} s, {total.missing_s:.1f} s are without any; "
        f"{energy.failures} reads failed" + (f": {energy.error}" if energy.error else "")
    )
    if energy.waiting.known is not None:
        yield f"       before it was let in: {joules(energy.waiting.known)}"
    if energy.idle_w is not None:
        yield f"idle:  {_value(energy.idle_w, 'W')} ({_sides(energy.idle_w)})"
    for one in energy.dropped:
        yield f"not in the phases: {one.amount:.4g} {one.what}: {one.why}"
    share = cost.cpu_s / max(cost.running_s, 1e-9)
    yield (
        f"measuring took {share:.2%} of a core for {cost.reads} reads, and "
        f"{energy.looking_s:.2f} s to tell phases apart"
    )


def joules(value: float) -> str:
    """An energy in joules, or in kilojoules if it is that large.

    Args:
        value: Joules.
    """
    return f"{value:.3g} J" if value < 999.5 else f"{value / 1e3:.4g} kJ"


def _total(total: Stretch) -> str:
    if total.joules is None:
        return "joules unknown"
    if total.known is None:
        return f"at least {joules(total.joules)}, the rest unknown,"
    return f"{joules(total.joules)} ({total.watts or 0:.3g} W)"


def _figures(one: MeanPhase) -> tuple[str, str, str]:
    if one.joules is None:
        return ("not resolved", one.unresolved, "")
    watts = f"{one.watts.value:.3g}" if one.watts is not None else ""
    return (f"{one.joules.value:.3g}", _sides(one.joules), watts)


def _value(one: Estimate, unit: str) -> str:
    return f"{one.value:.3g} {unit}"


def _sides(one: Estimate) -> str:
    return f"{one.low:.3g} to {one.high:.3g}"

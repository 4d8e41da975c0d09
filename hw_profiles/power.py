"""What a board draws while it computes or waits."""

from __future__ import annotations

from typing import Final

from slfac.hw_profiles.estimate import Guess, Unknown, between, exact, figure_of
from slfac.hw_profiles.machine import Machine

IDLE: Final = "idle power"
DYNAMIC: Final = "dynamic power"
COMPUTES: Final = ("forward", "encode", "decode", "backward", "update")


def idle_w(machine: Machine) -> Guess:
    """What the board draws with nothing to do.

    Args:
        machine: The board.
    """
    value = machine.mode.idle_w
    if value is None:
        return Unknown(f"{_of(machine)} has no idle_w")
    return figure_of(value, cause=IDLE, at_home=machine.at_home, source="idle:")


def dynamic_w(machine: Machine, phase: str) -> Guess:
    """What a phase draws above that.

    Args:
        machine: The board.
        phase: Which phase.

    Returns:
        As measured where it was. Else, of a phase that computes, what all cores busy draw above
        idle is the most that some can; the share of the threads is the least, and what lies
        between them by ratio is taken. A board that waits draws nothing above idle.
    """
    mode = machine.mode
    for cost in mode.phases:
        if cost.name == phase and cost.device == machine.device and cost.dynamic_w is not None:
            return figure_of(cost.dynamic_w, cause=DYNAMIC, at_home=machine.at_home)
    if phase not in COMPUTES:
        return exact(0.0, "the board waits")
    idle, active, cores = mode.idle_w, mode.active_w, machine.profile.hardware.cores
    if idle is None or active is None or cores is None:
        return Unknown(
            f"{_of(machine)} has no dynamic_w of {phase}, and not both idle_w and active_w"
        )
    if idle.scope != active.scope:
        return Unknown(f"{_of(machine)}: idle_w is of {idle.scope}, active_w of {active.scope}")
    most = active.value - idle.value
    if most < 0 or machine.device != "cpu":
        return Unknown(f"{_of(machine)}: active_w does not say what {phase} draws there")
    share = min(machine.threads / cores.value, 1.0)
    said = (
        f"between {share:.3g} and all of active_w - idle_w = {active.value:g} - {idle.value:g} W "
        f"({active.source})"
    )
    return between(most * share**0.5, most * share, most, "spec", said, DYNAMIC)


def _of(machine: Machine) -> str:
    return f"mode {machine.mode.name} of profile {machine.profile.board.name}"

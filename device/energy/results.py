"""What is said of the energy of steps, and of what could not be told."""

from __future__ import annotations

from dataclasses import dataclass

from slfac.device.energy.integrate import Total


@dataclass(frozen=True)
class Estimate:
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class PhaseEnergy:
    """What one phase of a step costs.

    Attributes:
        phase: Its name; ``other`` is time within steps that no phase accounts for, and ``step``
            is all of a step.
        seconds_per_step: How long it runs; stamped, not estimated.
        readings: How many windows it would fill.
        joules_per_step: Its energy, idle power included; idle power of an instant at which
            several phases run is divided evenly among them. None where not resolved.
        watts: Mean power while it runs; the same energy by time.
        above_idle_joules_per_step: Its energy without idle power; None where not resolved.
        unresolved: Why ``joules_per_step`` is None; empty where it is not.
    """

    phase: str
    seconds_per_step: float
    readings: float
    joules_per_step: Estimate | None
    watts: Estimate | None
    above_idle_joules_per_step: Estimate | None
    unresolved: str


@dataclass(frozen=True)
class Dropped:
    """Something that was left out.

    Attributes:
        what: ``readings``, ``steps``, ``stamps`` or ``seconds``.
        amount: How many.
        why: Why.
    """

    what: str
    amount: float
    why: str


@dataclass(frozen=True)
class Attribution:
    """Where the energy of some steps went.

    Attributes:
        phases: One entry a phase, in the order of :data:`~slfac.device.energy.phases.PHASES`.
        step: All phases together, by the same regression.
        steps: Steps that were looked at.
        readings: Readings that were.
        blocks: Blocks of steps that were resampled.
        total: Energy from the first stamp to the last by integration, everything included.
        idle_w: Mean idle power; None where not resolved.
        idle_drift_w: How much it rose from the first stamp to the last.
        lag_s: How late the sensor is; None where not resolved, or where it was given.
        dropped: What was left out.
    """

    phases: tuple[PhaseEnergy, ...]
    step: PhaseEnergy
    steps: int
    readings: int
    blocks: int
    total: Total
    idle_w: Estimate | None
    idle_drift_w: Estimate | None
    lag_s: Estimate | None
    dropped: tuple[Dropped, ...]

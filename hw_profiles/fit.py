"""From measured fronts to what phases cost: speeds, and how well they predict.

The time of a phase is a sum of which no term is below zero::

    t0 + layers * t1 + conv / F_conv + depthwise / F_depthwise + matmul / F_matmul + bytes / B

Squares of relative errors are made least. That predicts fronts that it has not seen better than a
roof line does, ``t0 + max(FLOP / F, bytes / B)``, of the whole or layer by layer: docs/plan.md has
the numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from slfac.hw_profiles.nnls import Array, nnls
from slfac.hw_profiles.schema import Device, MemoryCost, PhaseCost, Value
from slfac.hw_profiles.work import FRONT_PHASES, FrontPhase, Work, work_of
from slfac.wire.costs import Costs, costs_id
from slfac.wire.errors import SettingsError

MIN_FRONTS: Final = 5
# 10**9 operations in a millisecond are 1000 GFLOP/s.
_PER_MS = 1e3
#: Fields of a phase's speeds, in the order of the features behind ``t0_ms``.
SPEEDS: Final = ("conv_gflops", "depthwise_gflops", "matmul_gflops", "gbs")
_MIB = 2.0**20
_MOST_SPREAD = 1000.0


@dataclass(frozen=True)
class Timed:
    """A front that was measured on a board.

    Attributes:
        costs: What it costs.
        batch: Samples in a batch.
        forward_ms: Forward pass of a batch.
        backward_ms: Backward pass of a batch.
        update_ms: The optimiser's step.
        peak_mib: Memory of the process at its peak; None where not known.
        model: Which model it is a front of; empty where not known.
    """

    costs: Costs
    batch: int
    forward_ms: float
    backward_ms: float
    update_ms: float
    peak_mib: float | None = None
    model: str = ""


@dataclass(frozen=True)
class PhaseFit:
    """What a phase costs.

    Attributes:
        phase: Which phase.
        t0_ms: What it costs however little there is to do.
        layer_ms: What each layer costs that has an update of its own.
        ms: Of :data:`SPEEDS`, what a unit takes; zero where the fronts cannot tell.
        residuals: Logarithm of measured over predicted, of each front: predicted by a fit that has
            not seen it, in any batch size.
        unseen: The same by a fit that has seen no front of its model; none of a single model.
    """

    phase: FrontPhase
    t0_ms: float
    layer_ms: float
    ms: tuple[float, ...]
    residuals: tuple[float, ...]
    unseen: tuple[float, ...] = ()

    @property
    def spread(self) -> float:
        """How far a prediction may be off; see :func:`spread_of`."""
        return spread_of(self.residuals)

    @property
    def unseen_spread(self) -> float | None:
        """How far one of another model may be off; None where that was not tried."""
        return spread_of(self.unseen) if self.unseen else None

    def predict_ms(self, work: Work) -> float:
        """The time of some work.

        Args:
            work: What there is to do.
        """
        taken = (self.t0_ms, self.layer_ms, *self.ms)
        return float(np.dot(taken, _row(work)))


def fit_phase(fronts: Sequence[Timed], phase: FrontPhase) -> PhaseFit:
    """Fit one phase.

    Args:
        fronts: The measured fronts, in any batch sizes.
        phase: Which phase.

    Returns:
        The fit.

    Raises:
        SettingsError: There are too few different fronts, or a time is no positive number.
    """
    rows = np.array([_row(work_of(f.costs, f.batch, phase)) for f in fronts])
    times = np.array([getattr(front, f"{phase}_ms") for front in fronts], dtype=float)
    names = np.array([costs_id(front.costs) for front in fronts])
    if len(set(names)) < MIN_FRONTS:
        raise SettingsError(
            f"{len(set(names))} different fronts were measured",
            f"measure {MIN_FRONTS} or more, of cuts that differ much",
        )
    if not (np.isfinite(times).all() and (times > 0).all()):
        raise SettingsError(f"a time of the phase {phase} is not above zero", "measure longer")
    models = np.array([front.model for front in fronts])
    t0_ms, layer_ms, *ms = _solve(rows, times).tolist()
    residuals = _left_out(rows, times, names)
    unseen = _left_out(rows, times, models) if len(set(models)) > 1 else ()
    return PhaseFit(phase, t0_ms, layer_ms, tuple(ms), residuals, unseen)


def fit_phases(
    fronts: Sequence[Timed],
    *,
    source: str,
    date: str = "",
    device: Device = "cpu",
    threads: int | None = None,
) -> tuple[PhaseCost, ...]:
    """Fit the phases that a front computes, as a profile has them.

    Args:
        fronts: The measured fronts.
        source: What measured them.
        date: When.
        device: Where they ran.
        threads: With how many threads.

    Returns:
        Forward, backward and update. A speed that the fronts cannot tell is left out: it took no
        time that could be told from the rest.

    Raises:
        SettingsError: There are too few different fronts, or a time is no positive number.
    """
    said = f"{source}: fit over {len({costs_id(f.costs) for f in fronts})} fronts"

    def value(number: float) -> Value:
        return Value(
            value=float(f"{number:.6g}"),
            kind="calibrated",
            source=said,
            runs=len(fronts),
            date=date,
        )

    found = []
    for fit in (fit_phase(fronts, phase) for phase in FRONT_PHASES):
        speeds = {
            name: value(_PER_MS / ms) for name, ms in zip(SPEEDS, fit.ms, strict=True) if ms > 0
        }
        found.append(
            PhaseCost(
                name=fit.phase,
                device=device,
                threads=threads,
                t0_ms=value(fit.t0_ms),
                layer_ms=value(fit.layer_ms) if fit.layer_ms else None,
                spread=value(fit.spread),
                unseen_spread=None if fit.unseen_spread is None else value(fit.unseen_spread),
                conv_gflops=speeds.get("conv_gflops"),
                depthwise_gflops=speeds.get("depthwise_gflops"),
                matmul_gflops=speeds.get("matmul_gflops"),
                gbs=speeds.get("gbs"),
            )
        )
    return tuple(found)


def fit_memory(fronts: Sequence[Timed], *, source: str, date: str = "") -> MemoryCost | None:
    """Fit what a process that trains a front holds at its peak.

    Args:
        fronts: The measured fronts; those without a peak do not count.
        source: What measured them.
        date: When.

    Returns:
        The fit; None with fewer than :data:`MIN_FRONTS` different fronts.
    """
    known = [(front, front.peak_mib) for front in fronts if front.peak_mib]
    names = np.array([costs_id(front.costs) for front, _ in known])
    if len(set(names)) < MIN_FRONTS:
        return None
    rows = np.array([[1.0, *memory_mib(f.costs, f.batch)] for f, _ in known])
    peaks = np.array([peak for _, peak in known], dtype=float)
    found = _solve(rows, peaks)

    def value(number: float) -> Value:
        said = f"{source}: fit over {len(set(names))} fronts"
        return Value(
            value=float(f"{number:.6g}"),
            kind="calibrated",
            source=said,
            runs=len(known),
            date=date,
        )

    return MemoryCost(
        base_mib=value(max(float(found[0]), 1e-3)),
        per_weight=value(float(found[1])),
        per_residual=value(float(found[2])),
        spread=value(spread_of(_left_out(rows, peaks, names))),
    )


def memory_mib(costs: Costs, batch: int) -> tuple[float, float]:
    """What of a front must be held, in MiB: trainable weights, and residuals of a batch.

    Args:
        costs: What the front costs.
        batch: Samples in a batch.
    """
    return costs.weight_bytes / _MIB, batch * costs.residual_bytes / _MIB


def spread_of(residuals: Sequence[float]) -> float:
    """How far a prediction may be off, with 95 %: by a factor of one and this, either way.

    Args:
        residuals: Logarithm of measured over predicted, of fronts that the fit had not seen.

    Returns:
        From the root of their mean square, times Student's 97.5 % quantile (by the first terms of
        its series, as in Abramowitz and Stegun 26.7.5). It is 1000 at most.
    """
    count = len(residuals)
    rms = math.sqrt(math.fsum(r * r for r in residuals) / count)
    freedom = max(count - 1, 1)
    quantile = 1.96 + 2.37 / freedom + 2.82 / freedom**2
    return math.expm1(min(rms * quantile, math.log1p(_MOST_SPREAD)))


def _row(work: Work) -> tuple[float, ...]:
    products = (work.conv_gflop, work.depthwise_gflop, work.matmul_gflop)
    return (1.0, work.layers, *products, work.gb)


def _left_out(rows: Array, times: Array, groups: Array) -> tuple[float, ...]:
    """Logarithm of measured over predicted of each row, by a fit without any row of its group."""
    found = np.zeros(len(times))
    for group in dict.fromkeys(groups.tolist()):
        same = groups == group
        predicted = rows[same] @ _solve(rows[~same], times[~same])
        # Never nothing, which nothing could be held to.
        found[same] = np.log(times[same] / np.maximum(predicted, 1e-3 * times[same]))
    return tuple(found.tolist())


def _solve(rows: Array, times: Array) -> Array:
    """Least squares of relative errors."""
    return nnls(rows / times[:, None], np.ones_like(times))

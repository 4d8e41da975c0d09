"""From a ladder of loads, seen by a sensor and by a meter, to gain and offset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from slfac.device.energy.base import SCOPES, SensorInfo
from slfac.device.energy.trace import PowerTrace
from slfac.device.profiling.blockfit import fit_blocks
from slfac.device.profiling.gain.align import Lag, find_lag
from slfac.device.profiling.gain.ladder import Ladder, Rung
from slfac.device.profiling.spread import Figure, quantile
from slfac.wire.errors import SensorError, SettingsError

# Drivers of what is put into a supply.
_METERS: Final = ("meter", "plug", "i2c", "ina2xx", "hwmon")
# Loads must move the sensor by so many times what the fit leaves: then noise of the sensor makes
# the gain too small by one part in a hundred at most.
_LEAST_SPREAD: Final = 10.0
_WIDEST_GAIN: Final = 0.1
_LEAST_LOADS: Final = 3
_LEAST_RUNGS: Final = 10
_LEAST_READINGS: Final = 3
# A rung's last moments, which a lag that is off a little would take from the next.
_GUARD_S: Final = 0.2
_GUARD_SHARE: Final = 0.05
_MORE: Final = "give more time (--step-s, --repetitions), or loads that differ more"


@dataclass(frozen=True)
class LoadSeen:
    """What a load drew.

    Attributes:
        name: The load.
        rungs: How often it counts.
        sensor_w: Mean of the sensor.
        meter_w: Mean of the meter.
        left_w: What the fit leaves of the meter's mean.
    """

    name: str
    rungs: int
    sensor_w: float
    meter_w: float
    left_w: float


@dataclass(frozen=True)
class GainFit:
    """What makes the meter's power of the sensor's: ``gain * watts + offset_w``.

    Attributes:
        gain: With its 95 % interval.
        offset_w: The same.
        lag: How late the meter is.
        loads: By load.
        left_w: Root mean square of what the fit leaves.
        kept: Rungs that count.
        left_out: Those that do not, and why.
    """

    gain: Figure
    offset_w: Figure
    lag: Lag
    loads: tuple[LoadSeen, ...]
    left_w: float
    kept: int
    left_out: tuple[str, ...]


def check_scopes(sensor: SensorInfo, meter: SensorInfo) -> None:
    """Refuse a meter that does not measure more than the sensor does.

    Args:
        sensor: The board's own.
        meter: The meter.

    Raises:
        SettingsError: It does not.
    """
    if sensor.scope is None or meter.scope is None:
        missing = "sensor" if sensor.scope is None else "meter"
        raise SettingsError(f"there is no {missing} to read", "`slfac profile sensors` lists them")
    if sensor.kind == "sum":
        raise SettingsError(
            f"sensor {sensor.name} is a sum", "calibrate one sensor: a profile's gain is of one"
        )
    if meter.kind not in _METERS:
        raise SettingsError(
            f"{meter.name} is no meter, but a sensor of the board's own",
            "name what stands in the board's supply, or at the wall",
        )
    if sensor.name == meter.name:
        raise SettingsError(f"sensor {sensor.name} is its own meter", "name the board's own sensor")
    if meter.scope not in ("board", "wall"):
        raise SettingsError(
            f"meter {meter.name} measures the {meter.scope}",
            "the truth is a meter in the board's supply (board) or at the wall (wall)",
        )
    if SCOPES.index(meter.scope) <= SCOPES.index(sensor.scope):
        raise SettingsError(
            f"sensor {sensor.name} measures the {sensor.scope}, and meter {meter.name} the "
            f"{meter.scope}: that is no more",
            "a calibration leads from a part to the whole; say what they measure with --scope "
            "and --meter-scope",
        )


def fit_gain(
    rungs: Sequence[Rung],
    ladder: Ladder,
    sensor: PowerTrace,
    meter: PowerTrace,
    *,
    seed: int = 0,
) -> GainFit:
    """Fit the meter's mean power of each rung to the sensor's.

    Intervals are the wider of two: by resampling rungs, and Student's by the means of the loads.

    Args:
        rungs: What was done when.
        ladder: What the loads were.
        sensor: What the board's own sensor said.
        meter: What the meter said.
        seed: Of the resampling.

    Raises:
        SensorError: The two do not follow each other, too little was seen, or loads do not move
            the sensor enough to tell.
    """
    lag = find_lag(sensor, meter)
    seen, left_out = _means(rungs, ladder, sensor, meter, lag)
    kinds = np.array([load for load, _, _ in seen])
    if len(seen) < _LEAST_RUNGS or len(np.unique(kinds)) < _LEAST_LOADS:
        kinds_of = dict.fromkeys(line.partition(": ")[2] for line in left_out)
        whys = f": {'; '.join(kinds_of)}" if left_out else ""
        raise SensorError(f"only {len(seen)} of {len(rungs)} steps can be used{whys}", _MORE)
    x, y = (np.array([row[i] for row in seen]) for i in (1, 2))
    fit = fit_blocks(np.stack([x, np.ones_like(x)], axis=1), y, kinds, np.eye(2), seed=seed)
    left_w = float(np.sqrt(np.mean(fit.left**2)))
    halves = np.maximum(fit.half, _between_loads(x, y, kinds))
    gain, half = float(fit.value[0]), float(halves[0])
    spread_w = float(np.std(x))
    told = np.isfinite(half) and gain > 0 and half <= _WIDEST_GAIN * gain
    if not told or spread_w * gain < _LEAST_SPREAD * left_w:
        raise SensorError(
            f"loads move the sensor by {np.ptp(x):.3g} W ({spread_w:.3g} W around its mean), and "
            f"the fit leaves {left_w:.3g} W: too little to tell a gain by",
            _MORE,
        )
    return GainFit(
        gain=Figure(gain, gain - half, gain + half, len(seen)),
        offset_w=_figure(float(fit.value[1]), float(halves[1]), len(seen)),
        lag=lag,
        loads=tuple(
            LoadSeen(
                name=str(ladder.loads[kind]),
                rungs=int(np.sum(kinds == kind)),
                sensor_w=float(np.mean(x[kinds == kind])),
                meter_w=float(np.mean(y[kinds == kind])),
                left_w=float(np.mean(fit.left[kinds == kind])),
            )
            for kind in np.unique(kinds)
        ),
        left_w=left_w,
        kept=len(seen),
        left_out=tuple(left_out),
    )


def _figure(value: float, half: float, runs: int) -> Figure:
    return Figure(value, value - half, value + half, runs)


def _means(
    rungs: Sequence[Rung], ladder: Ladder, sensor: PowerTrace, meter: PowerTrace, lag: Lag
) -> tuple[list[tuple[int, float, float]], list[str]]:
    """Load, sensor's and meter's mean power of each rung, and why others are left out."""
    seen: list[tuple[int, float, float]] = []
    left_out: list[str] = []
    guard_s = min(_GUARD_S, _GUARD_SHARE * (ladder.step_s - ladder.settle_s))
    for number, rung in enumerate(rungs, 1):
        begin_s, end_s = rung.begin_s + ladder.settle_s, rung.end_s - guard_s
        late_s = lag.at(end_s)
        own_w = _mean(sensor, begin_s, end_s)
        true_w = _mean(meter, begin_s + late_s, end_s + late_s)
        if own_w is None:
            left_out.append(f"step {number}: the sensor gave too little")
        elif true_w is None:
            left_out.append(f"step {number}: the meter gave too little")
        else:
            seen.append((rung.load, own_w, true_w))
    return seen, left_out


def _mean(trace: PowerTrace, begin_s: float, end_s: float) -> float | None:
    """Mean power by readings whose windows lie between two instants; None from too few.

    A window that reaches into the next rung would bring some of its power.
    """
    inside = (trace.t_s - trace.window_s >= begin_s) & (trace.t_s <= end_s)
    chosen = trace.where(inside)
    if len(chosen) < _LEAST_READINGS:
        return None
    if chosen.t_s[-1] - (chosen.t_s[0] - chosen.window_s[0]) < (end_s - begin_s) / 2:
        return None
    return float(np.average(chosen.watts, weights=chosen.window_s if chosen.counted else None))


def _between_loads(x: np.ndarray, y: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """Half widths of gain's and offset's intervals, by the means of loads alone.

    Where loads differ in what the sensor does not see, more repetitions do not tell it.
    """
    loads = np.unique(kinds)
    columns = np.array([[np.mean(x[kinds == load]), 1.0] for load in loads])
    means = np.array([np.mean(y[kinds == load]) for load in loads])
    inverse = np.linalg.pinv(columns.T @ columns)
    left = means - columns @ (inverse @ (columns.T @ means))
    freedom = len(loads) - 2
    spread = quantile(freedom) * np.sqrt(left @ left / freedom)
    return np.asarray(spread * np.sqrt(np.diag(inverse)))

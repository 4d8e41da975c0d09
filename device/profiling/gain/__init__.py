"""What makes the board's power of a sensor's: a ladder of loads, seen by it and by a meter."""

from slfac.device.profiling.gain.align import Lag, find_lag
from slfac.device.profiling.gain.fit import GainFit, LoadSeen, check_scopes, fit_gain
from slfac.device.profiling.gain.ladder import Ladder, Load, Rung, run_ladder
from slfac.device.profiling.gain.loads import Workers

__all__ = [
    "GainFit",
    "Ladder",
    "Lag",
    "Load",
    "LoadSeen",
    "Rung",
    "Workers",
    "check_scopes",
    "find_lag",
    "fit_gain",
    "run_ladder",
]

"""A board that climbs a ladder of loads, its own sensor, and a meter that is late."""

from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np

from slfac.device.energy.trace import PowerTrace
from slfac.device.profiling.gain import Ladder, run_ladder

# Of the simulation.
TICK_S = 0.02
WATTS = {"idle": 3.0, "compute": 1.7, "copy": 0.9}


@dataclass(frozen=True)
class Bench:
    """A board with a sensor, and a meter.

    Attributes:
        gain: Of the sensor.
        offset_w: Added to that.
        span: What loads draw, relative to a Raspberry Pi 5's.
        cores: Of the board.
        settle_s: Time constant with which power follows a load.
        sensor_noise: White noise of the sensor's readings, relative.
        sensor_lsb_w: Its resolution.
        sensor_hz: Its rate.
        meter_noise_w: White noise of the meter.
        meter_lsb_w: Its resolution.
        meter_hz: Its rate, and what it averages over.
        meter_lag_s: How late its readings come.
        meter_drift: Seconds a second by which that grows.
        copy_more_w: What copying draws that the sensor does not see as the rest.
        slow_w: Slow noise of the board's power, which both see.
    """

    gain: float = 1.1451
    offset_w: float = 0.5879
    span: float = 1.0
    cores: int = 4
    settle_s: float = 0.3
    sensor_noise: float = 0.01
    sensor_lsb_w: float = 0.002
    sensor_hz: float = 10.0
    meter_noise_w: float = 0.02
    meter_lsb_w: float = 0.01
    meter_hz: float = 10.0
    meter_lag_s: float = 1.7
    meter_drift: float = 0.0
    copy_more_w: float = 0.0
    slow_w: float = 0.03

    def but(self, **changes):
        """The same bench with changes."""
        return replace(self, **changes)


@dataclass
class Climb:
    """Time, and what the board drew."""

    bench: Bench
    rng: np.random.Generator
    now_s: float = 500.0
    edges: list = field(default_factory=list)

    @contextmanager
    def busy(self, load):
        """Draw what a load draws."""
        watts = WATTS["idle"]
        if load.kind == "compute":
            watts += self.bench.span * (WATTS["compute"] * load.cores + 0.4)
        elif load.kind == "copy":
            watts += self.bench.span * WATTS["copy"] * load.cores
        self.edges.append((self.now_s, watts, load.kind == "copy"))
        yield

    def clock(self):
        """Seconds."""
        return self.now_s

    def wait(self, seconds):
        """Let time pass."""
        self.now_s += seconds


def climb(bench, seed, **changes):
    """Rungs, the ladder, and both traces."""
    said = []
    world = Climb(bench, np.random.default_rng(seed))
    ladder = Ladder(Ladder.loads_of(bench.cores), seed=seed, **changes)
    rungs = run_ladder(world.busy, ladder, clock=world.clock, wait=world.wait, say=said.append)
    t_s = np.arange(490.0, world.now_s + 3, TICK_S)
    watts, more = _power(world, t_s)
    sensor = _trace((watts - bench.offset_w) / bench.gain, t_s, world.rng, hz=bench.sensor_hz)
    noisy = sensor.watts * (1 + bench.sensor_noise * world.rng.standard_normal(len(sensor)))
    sensor = replace(sensor, watts=np.round(noisy / bench.sensor_lsb_w) * bench.sensor_lsb_w)
    meter = _trace(
        *(watts + more, t_s, world.rng),
        hz=bench.meter_hz,
        lag_s=bench.meter_lag_s,
        drift=bench.meter_drift,
    )
    noisy = meter.watts + bench.meter_noise_w * world.rng.standard_normal(len(meter))
    meter = replace(meter, watts=np.round(noisy / bench.meter_lsb_w) * bench.meter_lsb_w)
    return rungs, ladder, sensor, meter


def _power(world, t_s):
    """Watts that the sensor's fit holds for, and what it does not see."""
    bench = world.bench
    begins = np.array([edge[0] for edge in world.edges])
    which = np.searchsorted(begins, t_s, side="right") - 1
    steps = np.array([WATTS["idle"], *(edge[1] for edge in world.edges)])[which + 1]
    copies = np.array([False, *(edge[2] for edge in world.edges)])[which + 1]
    watts = np.empty_like(steps)
    keep, level = np.exp(-TICK_S / bench.settle_s), steps[0]
    wander, slow = np.exp(-TICK_S / 3.0), 0.0
    for i, step in enumerate(steps):
        level = keep * level + (1 - keep) * step
        slow = wander * slow + np.sqrt(1 - wander**2) * world.rng.standard_normal()
        watts[i] = level + bench.slow_w * slow
    return watts, np.where(copies, bench.copy_more_w, 0.0)


def _trace(watts, t_s, rng, *, hz, lag_s=0.0, drift=0.0):
    """Means of windows, each read a lag after its end."""
    joules = np.concatenate([[0.0], np.cumsum(watts) * TICK_S])
    at = np.append(t_s, t_s[-1] + TICK_S)
    count = int((t_s[-1] - t_s[0] - 1) * hz)
    ends = t_s[0] + 0.5 + (np.arange(count) + rng.uniform(-0.2, 0.2, count)) / hz
    window = np.full(count, 1 / hz)
    means = (np.interp(ends, at, joules) - np.interp(ends - window, at, joules)) / window
    late = ends + lag_s + drift * (ends - ends[0])
    return PowerTrace(late, window, means)


SCENES = {
    "plain": Bench(),
    "a plug": Bench(meter_hz=1.0, meter_lag_s=0.8, meter_lsb_w=0.1),
    "very late": Bench(meter_lag_s=12.0),
    "ahead": Bench(meter_lag_s=-0.5),
    "drifting": Bench(meter_drift=2e-3),
    "coarse sensor": Bench(sensor_lsb_w=0.04),
    "noisy sensor": Bench(sensor_noise=0.1),
    "two cores": Bench(cores=2),
    "loads differ": Bench(copy_more_w=0.2),
}

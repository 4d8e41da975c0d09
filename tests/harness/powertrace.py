"""Simulated steps, the power that they draw, and what a sensor says of it.

Power is piecewise linear in time and is integrated exactly, so that the true energy of every
phase is known to rounding. Of the code under test only the types of its input are used.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from slfac.device.energy.phases import Timeline
from slfac.device.energy.trace import PowerTrace

# Mean duration, watts above idle, spread of the duration from step to step: 265 ms together.
PHASES = {
    "forward": (0.080, 3.6, 0.06),
    "encode": (0.012, 2.6, 0.10),
    "send": (0.060, 1.3, 0.25),
    "wait": (0.048, 0.3, 0.35),
    "decode": (0.005, 2.4, 0.10),
    "backward": (0.060, 4.1, 0.06),
}
IDLE_W = 2.7
# How much the mean power of a phase differs from one of its instances to the next.
INSTANCE_SPREAD = 0.04
BEGIN_S = 1000.0
# Correlation time of slow noise.
WANDER_S = 0.5
# Share of a period by which readings are dithered to either side.
DITHER = 0.3
_AT = np.linspace(0.0, 1.0, 9)


@dataclass(frozen=True)
class Scene:
    """What is simulated.

    Attributes:
        steps: Training steps.
        idle_s: Stamped idleness before the first step, and after the last one.
        ramp: Power at the beginning of a phase above its mean, and at its end below, as a share
            of what the phase draws above idle; every other phase goes the other way.
        curved: Whether power settles exponentially instead of in a line.
        overlap: Whether half of the forward pass runs while the other half is sent.
        drift_w: How far idle power rises until the end.
        rate_hz: Readings a second, before dithering.
        window_s: What a reading averages over.
        lag_s: How late a reading is.
        noise: White noise of a reading, relative to it.
        wander_w: Slow noise.
        lsb_w: Resolution.
        counter: Whether the sensor counts joules between readings.
    """

    steps: int = 200
    idle_s: float = 10.0
    ramp: float = 0.0
    curved: bool = False
    overlap: bool = False
    drift_w: float = 0.0
    rate_hz: float = 25.0
    window_s: float = 0.040
    lag_s: float = 0.0
    noise: float = 0.0125
    wander_w: float = 0.03
    lsb_w: float = 0.04
    counter: bool = False

    def but(self, **changes: object) -> Scene:
        """The same scene with changes."""
        return replace(self, **changes)


@dataclass(frozen=True)
class Simulated:
    """What happened, and what was seen of it.

    Attributes:
        timeline: The stamps.
        trace: The sensor's readings.
        joules: True energy of each phase, all steps together. Idle power while two phases run
            counts half for each.
        total_joules: True energy from the first stamp to the last.
    """

    timeline: Timeline
    trace: PowerTrace
    joules: dict[str, float]
    total_joules: float


@dataclass(frozen=True)
class Idle:
    """Idle power, which rises and settles."""

    begin_s: float
    length_s: float
    drift_w: float

    def energy(self, t: np.ndarray) -> np.ndarray:
        """Joules from the beginning to each instant."""
        x = (t - self.begin_s) / self.length_s
        drift = self.drift_w * self.length_s * (x - (1 - np.exp(-3 * x)) / 3)
        return IDLE_W * (t - self.begin_s) + drift

    def between(self, spans: np.ndarray) -> float:
        """Joules within all of some spans."""
        return float(np.sum(self.energy(spans[:, 1]) - self.energy(spans[:, 0])))


@dataclass(frozen=True)
class Load:
    """What one phase draws above idle: linear between ``len(_AT)`` points of each instance."""

    spans: np.ndarray
    watts: np.ndarray

    def energy(self, t: np.ndarray) -> np.ndarray:
        """Joules from the beginning to each instant."""
        starts, lengths = self.spans[:, 0], self.spans[:, 1] - self.spans[:, 0]
        rows = np.maximum(np.searchsorted(starts, t, side="right") - 1, 0)
        part = np.clip((t - starts[rows]) / lengths[rows], 0, 1) * (len(_AT) - 1)
        index = np.minimum(part.astype(int), len(_AT) - 2)
        left, right = self.watts[rows, index], self.watts[rows, index + 1]
        u = part - index
        pieces = (self.watts[:, 1:] + self.watts[:, :-1]) / 2
        within = np.concatenate([np.zeros((len(pieces), 1)), np.cumsum(pieces, 1)], 1)
        width = lengths / (len(_AT) - 1)
        before = np.concatenate([[0.0], np.cumsum(within[:, -1] * width)])
        return before[rows] + width[rows] * (
            within[rows, index] + u * left + u * u * (right - left) / 2
        )

    def joules(self) -> float:
        """All of it."""
        return float(self.energy(self.spans[-1:, 1])[0])


def simulate(scene: Scene, seed: int) -> Simulated:
    """Make steps, the power they draw, and a sensor's readings.

    Args:
        scene: What to simulate.
        seed: Of everything that is drawn.
    """
    rng = np.random.default_rng(seed)
    spans, edges = _schedule(scene, rng)
    begin, finish = BEGIN_S, float(edges[-1]) + scene.idle_s
    idle = Idle(begin, finish - begin, scene.drift_w)
    loads = {name: Load(own, _watts(name, len(own), scene, rng)) for name, own in spans.items()}

    def energy(t: np.ndarray) -> np.ndarray:
        return idle.energy(t) + sum(load.energy(t) for load in loads.values())

    trace = _read(scene, energy, begin, finish, rng)
    joules = {name: load.joules() + idle.between(spans[name]) for name, load in loads.items()}
    shared = _intersections(spans["forward"], spans["send"]) if scene.overlap else np.zeros((0, 2))
    for name in ("forward", "send"):
        joules[name] -= idle.between(shared) / 2
    ends = energy(np.array([begin, finish]))
    timeline = Timeline(
        spans={**spans, "idle": np.array([[begin, edges[0]], [edges[-1], finish]])},
        steps=np.stack([edges[:-1], edges[1:]], 1),
        begin_s=begin,
        end_s=finish,
    )
    return Simulated(timeline, trace, joules, float(ends[1] - ends[0]))


def _schedule(scene: Scene, rng: np.random.Generator) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """When each phase runs, and the steps' edges."""
    lasting = {
        name: mean * np.exp(spread * rng.standard_normal(scene.steps) - spread**2 / 2)
        for name, (mean, _, spread) in PHASES.items()
    }
    first = lasting["forward"] / (2 if scene.overlap else 1)
    rest = lasting["forward"] - first
    encoded = first + lasting["encode"]
    sent = encoded + lasting["send"]
    waited = np.maximum(sent, encoded + rest) + lasting["wait"]
    decoded = waited + lasting["decode"]
    length = decoded + lasting["backward"]
    edges = BEGIN_S + scene.idle_s + np.concatenate([[0.0], np.cumsum(length)])

    def span(begin: np.ndarray, end: np.ndarray) -> np.ndarray:
        return np.stack([edges[:-1] + begin, edges[:-1] + end], 1)

    nothing = np.zeros(scene.steps)
    forward = [span(nothing, first)]
    if scene.overlap:
        forward.append(span(encoded, encoded + rest))
    spans = {
        "forward": np.stack(forward, 1).reshape(-1, 2),
        "encode": span(first, encoded),
        "send": span(encoded, sent),
        "wait": span(waited - lasting["wait"], waited),
        "decode": span(waited, decoded),
        "backward": span(decoded, length),
    }
    return spans, edges


def _watts(name: str, count: int, scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """What each instance of a phase draws above idle, at the points of its profile."""
    profile = np.exp(-4 * _AT) if scene.curved else 1 - _AT
    profile = profile - np.mean((profile[1:] + profile[:-1]) / 2)
    sign = 1 - 2 * (list(PHASES).index(name) % 2)
    shape = 1 + sign * scene.ramp * profile / profile[0]
    height = PHASES[name][1] * (1 + INSTANCE_SPREAD * rng.standard_normal(count))
    return height[:, None] * shape


def _read(
    scene: Scene, energy: object, begin: float, finish: float, rng: np.random.Generator
) -> PowerTrace:
    """A sensor's readings."""
    period = 1 / scene.rate_hz
    count = int((finish - begin) / period * 1.1) + 10
    t = begin + scene.window_s + np.cumsum(period * (1 + DITHER * rng.uniform(-1, 1, count)))
    t = t[t < finish]
    window = np.diff(t, prepend=t[0] - period) if scene.counter else np.full(len(t), scene.window_s)
    end = np.maximum(t - scene.lag_s, begin + 1e-6)
    start = np.maximum(end - window, begin)
    mean = (energy(end) - energy(start)) / np.maximum(end - start, 1e-9)
    noise = scene.noise * rng.standard_normal(len(t)) * mean
    watts = mean + noise + scene.wander_w * _wander(t, rng)
    if scene.lsb_w:
        watts = np.round(watts / scene.lsb_w) * scene.lsb_w
    return PowerTrace(t, window, watts)


def _wander(t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noise of variance 1 whose correlation decays within WANDER_S."""
    keep = np.exp(-np.diff(t) / WANDER_S)
    fresh = rng.standard_normal(len(t))
    values = [fresh[0]]
    for share, new in zip(keep.tolist(), fresh[1:].tolist(), strict=True):
        values.append(share * values[-1] + (1 - share * share) ** 0.5 * new)
    return np.array(values)


def _intersections(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Where two phases of the same steps run at once."""
    begin = np.maximum(one[:, None, 0], other[None, :, 0])
    end = np.minimum(one[:, None, 1], other[None, :, 1])
    both = end > begin
    return np.stack([begin[both], end[both]], 1)

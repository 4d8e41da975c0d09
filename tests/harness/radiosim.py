"""A radio whose cost is known, a link that uses it, and a sensor that sees it late and with noise.

Power is piecewise constant and integrated exactly. Of the code under test only the types of its
input are used.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from slfac.device.energy.sampler import Recording, SamplerCost
from slfac.device.energy.trace import PowerTrace
from slfac.device.profiling.link import Counts, Moved
from slfac.device.profiling.radio import BlockPlan, fit_radio, run_blocks
from slfac.wire.errors import LinkError
from slfac.wire.meter import packets

FRAMING = 80
FIGURES = ("send_j_per_mb", "receive_j_per_mb", "j_per_frame")


@dataclass(frozen=True)
class Radio:
    """What the radio costs above idle, and what the sensor makes of it.

    Attributes:
        send_j_per_mb: Joules of 10**6 bytes sent, beside the rest.
        receive_j_per_mb: The same, received.
        j_per_frame: Joules of a packet.
        awake_w: Watts while it is awake: from the first message to ``tail_s`` after the last.
        tail_s: How long it stays awake.
        mb_s: What it carries a second, either way.
        idle_w: Power without it.
        drift_w: How far that rises in ten minutes.
        slow_w: Slow noise of it, with a correlation time of 10 s.
        noise: White noise of a reading, relative to it.
        lag_s: How late a reading is.
        rate_hz: Readings a second.
        lsb_w: Resolution.
        block_spread: How much the cost of a block differs from the next.
    """

    send_j_per_mb: float = 0.12
    receive_j_per_mb: float = 0.08
    j_per_frame: float = 4e-4
    awake_w: float = 0.12
    tail_s: float = 0.1
    mb_s: float = 5.0
    idle_w: float = 2.7
    drift_w: float = 0.1
    slow_w: float = 0.01
    noise: float = 0.0125
    lag_s: float = 0.05
    rate_hz: float = 10.0
    lsb_w: float = 0.002
    block_spread: float = 0.02

    def but(self, **changes):
        """The same radio with changes."""
        return replace(self, **changes)

    def truth(self):
        """What a calibration should find: a megabyte's joules with what being awake costs."""
        awake = self.awake_w / self.mb_s
        return self.send_j_per_mb + awake, self.receive_j_per_mb + awake, self.j_per_frame


@dataclass
class World:
    """Time, the link, and all that was drawn.

    Attributes:
        radio: The radio.
        rng: What is random.
        now_s: The clock.
        broken: Numbers of the streams that break.
    """

    radio: Radio
    rng: np.random.Generator
    now_s: float = 1000.0
    broken: tuple[int, ...] = ()
    streams: int = 0
    drawn: list[tuple[float, float, float]] = field(default_factory=list)
    begin_s: float = 1000.0

    def clock(self):
        """Seconds."""
        return self.now_s

    def wait(self, seconds):
        """Let time pass."""
        self.now_s += seconds

    def stream(self, direction, body_bytes, duration_s, *, gap_s=0.0):
        """Carry a block, and draw what it costs."""
        self.streams += 1
        begin_s = self.now_s
        if self.streams in self.broken:
            self.now_s += 0.3 * duration_s
            raise LinkError("the connection broke", "")
        size = body_bytes + FRAMING
        rate = 1 / gap_s if gap_s else self.radio.mb_s * 1e6 / size
        count = max(1, round(rate * duration_s))
        self.now_s += count / rate * (1 + 0.01 * self.rng.standard_normal())
        there = Counts(count, count * size, count * packets(size))
        # Answers or requests, of which there are few.
        few = max(1, count // 16) if not gap_s else 1
        back = Counts(few, few * FRAMING, few)
        sent, received = (there, back) if direction == "up" else (back, there)
        joules = self.radio.send_j_per_mb * sent.bytes * 1e-6
        joules += self.radio.receive_j_per_mb * received.bytes * 1e-6
        joules += self.radio.j_per_frame * (sent.frames + received.frames)
        joules *= 1 + self.radio.block_spread * self.rng.standard_normal()
        seconds = self.now_s - begin_s
        self.drawn.append((begin_s, self.now_s, joules / seconds))
        self.drawn.append((begin_s, self.now_s + self.radio.tail_s, self.radio.awake_w))
        return Moved(sent, received, begin_s, self.now_s, None if gap_s else rate * body_bytes)

    def recording(self, gaps=(), throttled=None):
        """What the sensor said of all that.

        Args:
            gaps: Spans without readings.
            throttled: Spans in which the board was throttled.
        """
        r = self.radio
        count = int((self.now_s - self.begin_s + 5) * r.rate_hz)
        dither = self.rng.uniform(-0.3, 0.3, count)
        t_s = self.begin_s - 2 + (np.arange(count) + dither) / r.rate_hz
        window_s = np.full(count, 1 / r.rate_hz)
        mean_w = (self._energy(t_s - r.lag_s) - self._energy(t_s - r.lag_s - window_s)) / window_s
        step = 1 / r.rate_hz / 10.0
        slow = np.zeros(count)
        for i in range(1, count):
            slow[i] = (1 - step) * slow[i - 1] + self.rng.standard_normal() * np.sqrt(2 * step)
        watts = (mean_w + r.slow_w * slow) * (1 + r.noise * self.rng.standard_normal(count))
        watts = np.round(watts / r.lsb_w) * r.lsb_w
        keep = np.ones(count, bool)
        for begin_s, end_s in gaps:
            keep &= (t_s < begin_s) | (t_s > end_s)
        return Recording(
            trace=PowerTrace(t_s[keep], window_s[keep], watts[keep]),
            throttled=None if throttled is None else np.array(throttled, float).reshape(-1, 2),
            failures=0,
            error="the chip did not answer" if len(gaps) else "",
            lost_s=None,
            dropped=0,
            cost=SamplerCost(count, 0.0, 0.0, count / r.rate_hz),
        )

    def _energy(self, t_s):
        """Joules since the beginning."""
        since = t_s - self.begin_s
        total = self.radio.idle_w * since + self.radio.drift_w * since**2 / 1200
        for begin_s, end_s, watts in self.drawn:
            total = total + watts * np.clip(t_s - begin_s, 0, end_s - begin_s)
        return total


# Windows and lags of sensors, drifts of idle power, noise, and links from slow to fast.
SCENES = {
    "plain": Radio(),
    "30 Hz": Radio(rate_hz=30),
    "drifting idle": Radio(drift_w=1.0),
    "late sensor": Radio(lag_s=0.5),
    "noisy sensor": Radio(noise=0.05, slow_w=0.03),
    "slow link": Radio(mb_s=0.5),
    "fast link": Radio(mb_s=40),
    "never awake": Radio(awake_w=0.0),
}


def measured(radio, seed=0, plan=None, **seen):
    """A calibration in a simulated world: what came of it, its blocks, and what was said."""
    plan = plan or BlockPlan(seed=seed)
    world = World(radio, np.random.default_rng(seed))
    said = []
    runs = run_blocks(world, plan, clock=world.clock, wait=world.wait, say=said.append)
    return fit_radio(runs, plan, world.recording(**seen), seed=seed), runs, said

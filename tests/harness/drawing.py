"""A board whose clock only moves when something is done on it, and what it draws meanwhile.

Its sensor's readings are exact means over their windows, so that the true joules of every phase
are known.
"""

from __future__ import annotations

import numpy as np

from slfac.device.energy.base import PowerSensor, SensorInfo
from slfac.device.energy.host import Host
from slfac.device.energy.phases import no_spans
from slfac.device.energy.sampler import Recording, SamplerCost
from slfac.device.energy.trace import PowerTrace
from slfac.device.profiling.bench import Bench
from slfac.device.profiling.recorder import Recorder
from slfac.device.profiling.settings import profile_settings

IDLE_W = 2.5
WINDOW_S = 0.02
PERIOD_S = 0.025


class Drawing:
    """What was drawn, and when.

    Attributes:
        host: A host with that clock, whose waiting is idleness.
        lost_s: When the sensor is unplugged.
        hot: When the board was throttled, ``[begin, end]`` each; None if it cannot know.
    """

    def __init__(self, root):
        self.now_ns = 1_000_000_000
        self.lost_s = np.inf
        self.hot = []
        self._edges = [1.0]
        self._watts = []
        self.host = Host(root, clock=lambda: self.now_ns, wait=lambda s: self.spend(s, IDLE_W))

    def spend(self, seconds, watts):
        """Let time pass at a power."""
        self.now_ns += round(seconds * 1e9)
        self._edges.append(self.now_ns * 1e-9)
        self._watts.append(watts)

    @property
    def now_s(self):
        return self.now_ns * 1e-9

    def joules(self, t):
        """From the beginning to each instant."""
        edges = np.array(self._edges)
        total = np.concatenate([[0.0], np.cumsum(np.diff(edges) * self._watts)])
        return np.interp(t, edges, total)

    def bench(self, *, sensor=True, **settings):
        """Measures on this board; steps are made by the test."""
        chosen = profile_settings(**{"idle_s": 2.0, "gap_s": 2.0, "warm_up": 3, **settings})
        read = Exact() if sensor else Exact(gives="nothing")
        recorder = Recorder(read, self.host, sampler=lambda read, **_: Readings(self, read))
        return Bench(chosen, self.host, recorder)


class Exact(PowerSensor):
    """What the sensor would be; nobody reads it."""

    def __init__(self, gives="power"):
        scope = "module" if gives == "power" else None
        super().__init__(SensorInfo("exact", "exact", scope, gives, ("IN",), ("IN",), "nowhere"))

    def read(self):
        raise AssertionError


class Readings:
    """In place of a sampler: what it would have seen since it was last asked."""

    def __init__(self, drawing, sensor):
        self._drawing = drawing
        self._gives = sensor.info.gives
        self._rng = np.random.default_rng(0)
        self._until_s = drawing.now_s

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def take(self):
        drawing, begin_s = self._drawing, self._until_s
        self._until_s = end_s = drawing.now_s
        count = int((end_s - begin_s) / PERIOD_S * 1.5) + 5
        t = begin_s + WINDOW_S + np.cumsum(PERIOD_S * self._rng.uniform(0.7, 1.3, count))
        t = t[(t < end_s) & (t < drawing.lost_s) & (self._gives != "nothing")]
        watts = (drawing.joules(t) - drawing.joules(t - WINDOW_S)) / WINDOW_S
        lost = drawing.lost_s < end_s
        return Recording(
            trace=PowerTrace(t, np.full(len(t), WINDOW_S), watts),
            throttled=self._marks(begin_s, end_s),
            failures=12 if lost else 0,
            error="it was unplugged" if lost else "",
            lost_s=drawing.lost_s if lost else None,
            dropped=0,
            cost=SamplerCost(reads=count, cpu_s=0.1, reading_s=0.1, running_s=1.0),
        )

    def _marks(self, begin_s, end_s):
        if self._drawing.hot is None:
            return None
        marks = [mark for mark in self._drawing.hot if mark[0] < end_s and mark[1] > begin_s]
        return np.array(marks) if marks else no_spans()

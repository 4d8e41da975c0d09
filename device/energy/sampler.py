"""Reads a sensor at dithered intervals, in a thread that training never waits for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from slfac.device.energy.base import PowerSensor, Sample
from slfac.device.energy.phases import union
from slfac.device.energy.rhythm import Rhythm
from slfac.device.energy.trace import PowerTrace
from slfac.wire.errors import SettingsError

DEFAULT_HZ = 10.0
_MOST_HZ = 100.0
DEFAULT_CAPACITY = 1 << 16
# A sensor that fails is asked once in a while whether it is back.
_FAILURES = 10
_AGAIN_S = 1.0
_WATCH_S = 1.0


@dataclass(frozen=True)
class SamplerCost:
    """What reading a sensor costs the board.

    Attributes:
        reads: How often it was read, failures included.
        cpu_s: Processor time of the sampling thread. What a driver's programs or the kernel's
            interrupts take is not in it.
        reading_s: Time within reads, waiting for the sensor included.
        running_s: How long the thread has run.
    """

    reads: int
    cpu_s: float
    reading_s: float
    running_s: float


@dataclass(frozen=True)
class Recording:
    """What a sampler saw since the last time.

    Attributes:
        trace: The readings.
        throttled: When the board was throttled, sorted and disjoint, ``(N, 2) float64``; None
            where that cannot be known.
        failures: Reads that failed.
        error: What the last of them said; empty without one.
        lost_s: Since when the sensor has given nothing at all; None while it does.
        dropped: Readings for which there was no room.
        cost: What sampling has cost since it began.
    """

    trace: PowerTrace
    throttled: np.ndarray | None
    failures: int
    error: str
    lost_s: float | None
    dropped: int
    cost: SamplerCost


class Sampler:
    """Reads a sensor until it is stopped; a context manager that starts and stops.

    Args:
        sensor: Read by the sampler's thread alone, and not closed by it.
        hz: Readings a second, on average; None for what the sensor can give, up to 100.
        throttled: Asked once a second whether the board was throttled since the last time; None
            if it cannot know.
        capacity: Readings that fit between two calls of :meth:`take`, 24 bytes each; further
            ones are counted and lost.
        clock: Nanoseconds of the clock of the sensor's samples.
        seed: Of the dithering.
    """

    def __init__(
        self,
        sensor: PowerSensor,
        *,
        hz: float | None = None,
        throttled: Callable[[], bool | None] | None = None,
        capacity: int = DEFAULT_CAPACITY,
        clock: Callable[[], int] = time.monotonic_ns,
        seed: int = 0,
    ) -> None:
        rate_hz = hz if hz is not None else min(sensor.info.max_hz or DEFAULT_HZ, _MOST_HZ)
        if not 0 < rate_hz <= 10 * _MOST_HZ:
            raise SettingsError(
                f"hz is {rate_hz:g}", f"read up to {10 * _MOST_HZ:g} times a second"
            )
        self._period_s = 1.0 / rate_hz
        self._sensor = sensor
        self._throttled = throttled
        self._clock = clock
        self._rhythm = Rhythm(clock(), seed)
        self._store = _Store(capacity, sensor.info.gives == "energy")
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="energy", daemon=True)
        self._reads, self._reading_ns, self._cpu_ns = 0, 0, 0
        self._began_ns = self._asked_ns = clock()

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def take(self) -> Recording:
        """Hand out what was seen since the last time."""
        cost = SamplerCost(
            reads=self._reads,
            cpu_s=self._cpu_ns * 1e-9,
            reading_s=self._reading_ns * 1e-9,
            running_s=(self._clock() - self._began_ns) * 1e-9,
        )
        return self._store.take(cost)

    def _run(self) -> None:
        while not self._ended.is_set():
            self._read()
            self._watch()
            self._cpu_ns = time.thread_time_ns()
            period_s = _AGAIN_S if self._store.lost else self._period_s
            self._ended.wait(self._rhythm.wait_s(self._clock(), period_s))

    def _read(self) -> None:
        begin_ns = self._clock()
        try:
            sample = self._sensor.read()
        except Exception as error:  # noqa: BLE001 - whatever it is, training goes on
            self._store.fail(str(error) or type(error).__name__, begin_ns)
        else:
            self._store.add(sample)
        self._reads += 1
        self._reading_ns += self._clock() - begin_ns

    def _watch(self) -> None:
        now_ns = self._clock()
        if self._throttled is None or now_ns - self._asked_ns < _WATCH_S * 1e9:
            return
        before_ns, self._asked_ns = self._asked_ns, now_ns
        self._store.mark(self._throttled(), before_ns, now_ns)


class _Store:
    """What was seen and not yet handed out; its lock is held for microseconds."""

    def __init__(self, capacity: int, counted: bool) -> None:
        self._lock = threading.Lock()
        self._capacity = capacity
        self._counted = counted
        self._failing: tuple[int, int] = (0, 0)
        self._last_ns = 0
        self._begin()

    @property
    def lost(self) -> bool:
        """Whether the sensor has failed again and again until now."""
        return self._failing[0] >= _FAILURES

    def add(self, sample: Sample) -> None:
        """Take down a reading; one that says nothing new is left out."""
        with self._lock:
            self._failing = (0, 0)
            watts = sample.power_w
            if watts is None or sample.t1_ns <= self._last_ns:
                return
            self._last_ns = sample.t1_ns
            if self._count == self._capacity:
                self._dropped += 1
                return
            window_s = (sample.t1_ns - sample.t0_ns) * 1e-9
            self._rows[:, self._count] = sample.t1_ns * 1e-9, window_s, watts
            self._count += 1

    def fail(self, error: str, now_ns: int) -> None:
        """Take down a failure."""
        with self._lock:
            count, since_ns = self._failing
            self._failing = (count + 1, since_ns or now_ns)
            self._failures += 1
            self._error = error

    def mark(self, throttled: bool | None, begin_ns: int, end_ns: int) -> None:
        """Take down whether the board was throttled between two instants."""
        if throttled is None:
            return
        with self._lock:
            # One after another makes one, so that days of throttling take no more memory.
            if throttled and self._marks and self._marks[-1][1] == begin_ns * 1e-9:
                self._marks[-1][1] = end_ns * 1e-9
            elif throttled:
                self._marks.append([begin_ns * 1e-9, end_ns * 1e-9])
            self._told = True

    def take(self, cost: SamplerCost) -> Recording:
        """Hand it out, and begin anew."""
        with self._lock:
            t_s, window_s, watts = self._rows[:, : self._count]
            count, since_ns = self._failing
            marks = np.array(self._marks, dtype=np.float64).reshape(-1, 2)
            recording = Recording(
                trace=PowerTrace(t_s, window_s, watts, self._counted),
                throttled=union(marks) if self._told else None,
                failures=self._failures,
                error=self._error,
                lost_s=since_ns * 1e-9 if count >= _FAILURES else None,
                dropped=self._dropped,
                cost=cost,
            )
            self._begin()
            return recording

    def _begin(self) -> None:
        # Pages that are never written take no memory.
        self._rows = np.zeros((3, self._capacity))
        self._count = self._dropped = self._failures = 0
        self._error, self._told = "", False
        self._marks: list[list[float]] = []

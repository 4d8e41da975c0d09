"""Stamps and readings of a whole measurement, taken section by section."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from slfac.device.energy.base import PowerSensor
from slfac.device.energy.host import Host
from slfac.device.energy.phasemeter import PhaseMeter
from slfac.device.energy.phases import Timeline, no_spans, touched
from slfac.device.energy.sampler import DEFAULT_HZ, Recording, Sampler
from slfac.device.energy.throttle import ThrottleWatch
from slfac.device.energy.trace import PowerTrace
from slfac.device.profiling.record import Readings, Repetition, SensorFacts

# Stamps of one repetition.
_CAPACITY = 1 << 20
# Readings of one section: 40 minutes at the highest rate.
_READINGS = 1 << 18
# Readings of all sections that are written down.
_MOST_WRITTEN = 1_000_000
# Without a sensor only throttling is watched.
_WATCH_HZ = 2.0
# A mean power rests on so many readings.
LEAST_READINGS = 5


@dataclass(frozen=True)
class Seen:
    """What happened in a section.

    Attributes:
        timeline: Its stamps.
        trace: The readings.
        throttled: When the board was throttled, ``(N, 2)``; None where that cannot be known.
        begin_s: When it began, on the clock of both.
        end_s: When it ended.
    """

    timeline: Timeline
    trace: PowerTrace
    throttled: np.ndarray | None
    begin_s: float
    end_s: float

    def held_down(self, begin_s: float, end_s: float) -> bool | None:
        """Whether the board was throttled meanwhile; None where that cannot be known.

        Args:
            begin_s: Since when.
            end_s: Until when.
        """
        if self.throttled is None:
            return None
        return bool(touched(np.array([[begin_s, end_s]]), self.throttled)[0])

    def watts(self, begin_s: float, end_s: float) -> float | None:
        """Mean power between two instants, from readings whose windows lie between them.

        Args:
            begin_s: The first.
            end_s: The second.

        Returns:
            Watts; None from fewer than five readings, or where they cover less than half.
        """
        trace = self.trace
        inside = (trace.t_s - trace.window_s >= begin_s) & (trace.t_s <= end_s)
        inside &= np.isfinite(trace.watts)
        if np.sum(inside) < LEAST_READINGS:
            return None
        chosen = trace.where(inside)
        if chosen.t_s[-1] - chosen.t_s[0] < (end_s - begin_s) / 2:
            return None  # the sensor was lost meanwhile
        weights = chosen.window_s if chosen.counted else np.ones(len(chosen))
        return float(np.average(chosen.watts, weights=weights))


class Recorder:
    """Reads a sensor while things are measured; a context manager that starts and stops.

    Args:
        sensor: Read until the end, and not closed.
        host: Its clock, and where throttling shows.
        sampler: What reads the sensor.

    Attributes:
        meter: Takes stamps.
        has_sensor: Whether joules can be told at all.
        begin_s: When it was made: the zero of what is written down.
        unseen: Readings for which there was no room.
    """

    def __init__(
        self, sensor: PowerSensor, host: Host, *, sampler: Callable[..., Sampler] = Sampler
    ) -> None:
        self.has_sensor = sensor.info.gives != "nothing"
        self._host = host
        self._sensor = sensor
        self.meter = PhaseMeter(_CAPACITY, clock=host.clock)
        self._sampler = sampler(
            sensor,
            hz=None if self.has_sensor else _WATCH_HZ,
            throttled=ThrottleWatch(host),
            capacity=_READINGS,
            clock=host.clock,
        )
        rate_hz = sensor.info.max_hz or DEFAULT_HZ
        self._settle_s = 2 / rate_hz if self.has_sensor else 0.0
        self.begin_s = self._section_s = host.clock() * 1e-9
        self._timelines: list[Timeline] = []
        self._traces: list[PowerTrace] = []
        self._failures = self.unseen = 0
        self._last: Recording | None = None
        self._error = ""

    def __enter__(self) -> Recorder:
        self._sampler.__enter__()
        return self

    def __exit__(self, *ended: object) -> None:
        self._sampler.__exit__(*ended)

    @property
    def lost_s(self) -> float | None:
        """Since when the sensor has given nothing, by the last section; None while it does."""
        return self._last.lost_s if self._last is not None and self.has_sensor else None

    @property
    def error(self) -> str:
        """What the sensor's last failure said; empty without one."""
        return self._error

    def begin(self) -> None:
        """Begin a section; what was stamped and not taken is forgotten."""
        self.meter.take()
        self._timelines.clear()
        self._section_s = self._host.clock() * 1e-9

    def end_repetition(self) -> None:
        """Make room for the stamps of the next repetition."""
        self._timelines.append(self.meter.take())

    def end(self) -> Seen:
        """End a section, once the sensor has seen all of it."""
        self._timelines.append(self.meter.take())
        end_s = self._host.clock() * 1e-9
        if self._settle_s:
            self._host.wait(self._settle_s)
        recording = self._last = self._sampler.take()
        self._failures += recording.failures
        self.unseen += recording.dropped
        self._error = recording.error or self._error
        self._traces.append(recording.trace)
        return Seen(
            _joined(self._timelines),
            recording.trace,
            recording.throttled,
            self._section_s,
            end_s,
        )

    def readings(self) -> Readings:
        """All readings of all sections, counted from the beginning."""
        if not self.has_sensor or not self._traces:
            return Readings()
        columns = [
            np.concatenate([getattr(trace, name) for trace in self._traces])
            for name in ("t_s", "window_s", "watts")
        ]
        known = np.isfinite(columns[2])
        # Figures rest on all of them; a plot is none the worse for every second one.
        stride = max(1, -(-int(np.sum(known)) // _MOST_WRITTEN))
        t_s, window_s, watts = (column[known][::stride] for column in columns)
        return Readings(
            t_s=_rounded(t_s - self.begin_s), window_s=_rounded(window_s), watts=_rounded(watts)
        )

    def facts(self) -> SensorFacts | None:
        """The sensor, and how reading it went; None without one."""
        info, last = self._sensor.info, self._last
        if info.scope is None or last is None:
            return None
        return SensorFacts(
            name=info.name,
            kind=info.kind,
            scope=info.scope,
            total=info.total,
            place=info.place,
            note=info.note,
            counted=info.gives == "energy",
            reads=last.cost.reads,
            failures=self._failures,
            error=self._error,
            lost_s=None if last.lost_s is None else round(last.lost_s - self.begin_s, 6),
            cpu_s=round(last.cost.cpu_s, 6),
        )

    def repetition(self, seen: Seen, begin_s: float, end_s: float, count: int) -> Repetition:
        """One repetition, with what was seen of it.

        Args:
            seen: The section that it is in.
            begin_s: When it began, on the clock of stamps.
            end_s: When it ended.
            count: How often something was done.
        """
        watts = seen.watts(begin_s, end_s)
        return Repetition(
            begin_s=round(begin_s - self.begin_s, 9),
            end_s=round(end_s - self.begin_s, 9),
            count=count,
            throttled=seen.held_down(begin_s, end_s),
            watts=None if watts is None else round(watts, 6),
        )


def _joined(timelines: Sequence[Timeline]) -> Timeline:
    """Timelines that follow one another as one."""
    held = [t for t in timelines if t.spans or len(t.steps)] or timelines[-1:]
    names = {name for timeline in held for name in timeline.spans}
    return Timeline(
        spans={name: np.concatenate(_all(held, name)) for name in sorted(names)},
        steps=np.concatenate([timeline.steps for timeline in held]),
        begin_s=held[0].begin_s,
        end_s=held[-1].end_s,
        dropped=sum(timeline.dropped for timeline in timelines),
    )


def _all(timelines: Sequence[Timeline], name: str) -> list[np.ndarray]:
    return [timeline.spans.get(name, no_spans()) for timeline in timelines]


def _rounded(values: np.ndarray) -> tuple[float, ...]:
    return tuple(np.round(values, 6).tolist())

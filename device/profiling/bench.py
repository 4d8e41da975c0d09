"""What all measurements share: settings, clock, stamps, and how something is repeated."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import msgspec
import numpy as np

from slfac.device.energy.host import Host
from slfac.device.energy.phases import IDLE
from slfac.device.profiling.energies import energies
from slfac.device.profiling.record import Repetition, Section
from slfac.device.profiling.recorder import Recorder, Seen
from slfac.device.profiling.settings import ProfileSettings

# Steps and readings that a plot of single steps shows.
_SHOWN_STEPS = 5
_SHOWN_READINGS = 12
_MOST_SPANS = 400


@dataclass(frozen=True)
class Raw:
    """A repetition before it is known what the sensor saw of it; times are of the clock."""

    begin_s: float
    end_s: float
    count: int
    seconds: dict[str, float] = field(default_factory=dict)


class Bench:
    """Measures steps that have phases.

    Args:
        settings: For how long, and how often.
        host: Its clock, and how to wait.
        recorder: Takes stamps and readings.
    """

    def __init__(self, settings: ProfileSettings, host: Host, recorder: Recorder) -> None:
        self.settings = settings
        self.host = host
        self.recorder = recorder
        self._ns: dict[str, int] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time and stamp a block as part of a phase.

        Args:
            name: The phase.
        """
        begin_ns = self.host.clock()
        yield
        end_ns = self.host.clock()
        self.recorder.meter.record(name, begin_ns, end_ns)
        self._ns[name] = self._ns.get(name, 0) + end_ns - begin_ns

    def rest(self, seconds: float) -> None:
        """Leave the board alone, stamped as idle.

        Args:
            seconds: For how long.
        """
        with self.recorder.meter.phase(IDLE):
            self.host.wait(seconds)

    def measure(self, section: Section, step: Callable[[], None]) -> Section:
        """Repeat steps.

        Args:
            section: What they are; its times and results are filled in.
            step: Makes one, with its phases.

        Returns:
            The section.
        """
        settings, recorder = self.settings, self.recorder
        for _ in range(settings.warm_up):
            step()
        recorder.begin()
        if recorder.has_sensor and settings.gap_s:
            self.rest(settings.gap_s)
        raw = []
        for _ in range(settings.repetitions):
            raw.append(self._repeat(step))
            recorder.end_repetition()
        seen = recorder.end()
        return msgspec.structs.replace(
            self.filled(section, seen, raw),
            spans=_shown(seen, recorder.begin_s),
            **(energies(seen) if recorder.has_sensor else {}),
        )

    def filled(self, section: Section, seen: Seen, raw: list[Raw]) -> Section:
        """A section with its times and repetitions.

        Args:
            section: The section.
            seen: What happened in it.
            raw: Its repetitions.
        """
        zero_s = self.recorder.begin_s
        return msgspec.structs.replace(
            section,
            begin_s=round(seen.begin_s - zero_s, 6),
            end_s=round(seen.end_s - zero_s, 6),
            repetitions=tuple(self._repetition(seen, one) for one in raw),
        )

    def _repetition(self, seen: Seen, raw: Raw) -> Repetition:
        found = self.recorder.repetition(seen, raw.begin_s, raw.end_s, raw.count)
        return msgspec.structs.replace(found, seconds=raw.seconds)

    def _repeat(self, step: Callable[[], None]) -> Raw:
        clock, meter = self.host.clock, self.recorder.meter
        least_ns = round(self.settings.least_s * 1e9)
        self._ns.clear()
        begin_ns = end_ns = clock()
        count = 0
        while not count or end_ns - begin_ns < least_ns:
            with meter.step():
                step()
            count += 1
            end_ns = clock()
        seconds = {name: total * 1e-9 for name, total in self._ns.items()}
        return Raw(begin_ns * 1e-9, end_ns * 1e-9, count, seconds)


def _shown(seen: Seen, zero_s: float) -> dict[str, tuple[tuple[float, float], ...]]:
    """Spans of some steps in the middle, enough for a dozen readings where there are any."""
    steps = seen.timeline.steps
    if not len(steps):
        return {}
    first = len(steps) // 2 if len(steps) > 2 * _SHOWN_STEPS else 0
    begin_s = steps[first, 0]
    end_s = steps[min(first + _SHOWN_STEPS, len(steps)) - 1, 1]
    times = seen.trace.t_s[seen.trace.t_s >= begin_s]
    if len(times):
        end_s = max(end_s, times[min(_SHOWN_READINGS, len(times)) - 1])
    shown = {}
    for name, spans in {**seen.timeline.spans, "step": steps}.items():
        within = spans[(spans[:, 0] >= begin_s) & (spans[:, 1] <= end_s)][:_MOST_SPANS]
        if len(within):
            rounded = np.round(within - zero_s, 6).tolist()
            shown[name] = tuple((begin, end) for begin, end in rounded)
    return shown

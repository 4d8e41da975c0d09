"""Sensors that count joules: wraps are undone, resets and gaps are said."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from slfac.device.energy.base import PowerSensor, Sample, SensorInfo
from slfac.device.energy.host import Host
from slfac.wire.errors import SensorError


@dataclass(frozen=True)
class Counter:
    """An energy counter of one rail.

    Attributes:
        read: Reads it.
        unit_j: Joules of one of its counts.
        range_counts: How many counts it begins again at nought after; None if it never does in
            practice.
    """

    read: Callable[[], int]
    unit_j: float
    range_counts: int | None = None


class Count:
    """What a counter has counted since its first read.

    Args:
        name: Which counter, for errors.
        unit_j: Joules of one of its counts.
        range_counts: How many counts it begins again at nought after; None if it never does in
            practice.
        most_w: More than this is taken for a reset of the counter.
        late_s: How long after it has been used the counter may show energy.
    """

    def __init__(
        self,
        name: str,
        unit_j: float,
        range_counts: int | None,
        *,
        most_w: float,
        late_s: float = 1.0,
    ) -> None:
        self._name = name
        self._unit_j = unit_j
        self._range_counts = range_counts
        self._most_w = most_w
        self._late_s = late_s
        self._last: tuple[float, int] | None = None
        self._counts: float = 0

    @property
    def joules(self) -> float:
        """What it has counted."""
        return self._counts * self._unit_j

    def advance(self, raw: float, t_ns: int) -> None:
        """Take down what the counter says.

        Args:
            raw: What it says, in counts; differences of whole numbers are exact.
            t_ns: When, on a monotonic clock.

        Raises:
            SensorError: How much it counted since the last time cannot be told; counting goes on
                from here.
        """
        last, self._last = self._last, (raw, t_ns)
        if last is None:
            return
        gained, seconds = raw - last[0], (t_ns - last[1]) / 1e9
        if self._range_counts is not None:
            if seconds * self._most_w >= self._range_counts * self._unit_j:
                raise SensorError(
                    f"counter {self._name} was not read for {seconds:.0f} s, in which it may have "
                    "begun again more than once",
                    "its joules go on from here, without that gap",
                )
            gained += self._range_counts if gained < 0 else 0
        if not 0 <= gained * self._unit_j <= self._most_w * (seconds + self._late_s):
            raise SensorError(
                f"counter {self._name} went from {last[0]} to {raw} in {seconds:.3f} s",
                "it was set back, or is broken; its joules go on from here",
            )
        self._counts += gained


class CounterSensor(PowerSensor):
    """Reads energy counters; power is what they gained since the last read.

    Args:
        info: What it is; ``info.rails`` are the names of ``counters``, in that order.
        counters: What is read, by rail.
        host: Its clock is taken.
    """

    def __init__(self, info: SensorInfo, counters: Mapping[str, Counter], host: Host) -> None:
        super().__init__(info)
        self._counters = counters
        self._host = host
        self._counts = {
            rail: Count(
                f"{info.name} {rail}", counter.unit_j, counter.range_counts, most_w=info.most_w
            )
            for rail, counter in counters.items()
        }
        self._last: tuple[int, dict[str, float]] | None = None

    def read(self) -> Sample:
        """Read every counter once; the first read gives no power.

        Raises:
            SensorError: A counter cannot be read, was set back, or may have begun again more
                than once since the last read.
        """
        start_ns = self._host.clock()
        raw = {rail: counter.read() for rail, counter in self._counters.items()}
        end_ns = self._host.clock()
        middle_ns = (start_ns + end_ns) // 2
        last, self._last = self._last, None
        self._advance(raw, middle_ns)
        joules = {rail: count.joules for rail, count in self._counts.items()}
        self._last = (middle_ns, joules)
        total_j = sum(joules[rail] for rail in self.info.total)
        if last is None or last[0] >= middle_ns:
            return Sample(t0_ns=middle_ns, t1_ns=middle_ns, power_w=None, energy_j=total_j)
        seconds = (middle_ns - last[0]) / 1e9
        watts = {rail: (joules[rail] - last[1][rail]) / seconds for rail in joules}
        return Sample(
            t0_ns=last[0],
            t1_ns=middle_ns,
            power_w=sum(watts[rail] for rail in self.info.total),
            rails_w=watts,
            energy_j=total_j,
        )

    def _advance(self, raw: dict[str, int], t_ns: int) -> None:
        """Let every count have its value, also where one of them refuses its own."""
        refused = []
        for rail, counted in raw.items():
            try:
                self._counts[rail].advance(counted, t_ns)
            except SensorError as error:
                refused.append(error)
        if refused:
            raise refused[0]

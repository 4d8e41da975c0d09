"""From what was measured of a board to its profile."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import psutil

from slfac.codec import make_codec
from slfac.device.energy.host import Host
from slfac.device.profiling.board import cores, highest_clock_mhz
from slfac.device.profiling.figures import (
    by_codec,
    codec_mbs,
    idle_w,
    of_kind,
    peak_mib,
    per_second,
    phase_ms,
    watts,
)
from slfac.device.profiling.record import Interval, PhaseJoules, Record, Section
from slfac.device.profiling.spread import Figure
from slfac.device.profiling.worker import GEMM_SIZE
from slfac.hw_profiles import Power, Profile, Value
from slfac.hw_profiles.schema import (
    SCHEMA,
    Board,
    CodecCost,
    Compute,
    FrontCost,
    Hardware,
    Link,
    Mode,
    PhaseCost,
    Provenance,
    Sensor,
)

_MODE = re.compile(r"(\d{1,9})(?: \((.+)\))?")
_MOST_TEXT = 900


def profile_of(record: Record, host: Host) -> Profile:
    """Make a profile; what was not measured is left out.

    Args:
        record: The measurement.
        host: The machine that was measured, for its cores, clock and memory.
    """
    return _Maker(record).profile(host)


class _Maker:
    """Makes the tables of one profile."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._source = _plain(record.command)
        self._threads = int(record.settings.get("threads", "1"))

    def profile(self, host: Host) -> Profile:
        """The whole."""
        record, board = self._record, self._record.board
        return Profile(
            schema=SCHEMA,
            board=Board(
                name=board.name,
                title=_plain(board.title) or board.name,
                model_match=_plain(board.model_match or board.model),
                processor=_plain(record.machine.get("processor", "")),
            ),
            provenance=self._provenance(),
            hardware=self._hardware(host),
            modes=(self._mode(),),
            links=tuple(self._links()),
            sensors=tuple(self._sensors()),
        )

    def _provenance(self) -> Provenance:
        record = self._record
        marks = [one.throttled for section in record.sections for one in section.repetitions]
        known = [mark for mark in marks if mark is not None]
        return Provenance(
            origin="measured",
            date=record.date[:10],
            command=self._source,
            runs=int(record.settings["repetitions"]),
            throttled=any(known) if known else None,
            machine={name: _plain(text) for name, text in record.machine.items()},
            versions={name: _plain(text) for name, text in record.versions.items()},
            note=_plain("; ".join(record.notes)),
        )

    def _hardware(self, host: Host) -> Hardware:
        clock = highest_clock_mhz(host)
        memory = psutil.virtual_memory().total / 2**20
        speeds = {section.kind: per_second(section, 1e9) for section in self._record.sections}
        return Hardware(
            cores=self._fact(cores(), "cores that the process may use"),
            clock_mhz=None if clock is None else self._fact(clock, "cpufreq"),
            memory_mib=self._fact(memory, "what the kernel has of it"),
            memcpy_gbs=self._value(speeds.get("copy"), "numpy.copyto of float64, one thread"),
            memset_gbs=self._value(speeds.get("set"), "numpy.ndarray.fill of float64, one thread"),
        )

    def _mode(self) -> Mode:
        said = _MODE.fullmatch(self._record.before.power_mode or "")
        return Mode(
            name=(said[2] or said[1]) if said else "default",
            nvpmodel_id=int(said[1]) if said else None,
            idle_w=self._power(idle_w(self._record), "idle before and after, each in equal parts"),
            active_w=self._active_w(),
            compute=tuple(self._compute(section) for section in of_kind(self._record, "gemm")),
            phases=tuple(self._phases()),
            codecs=tuple(self._codecs()),
            fronts=tuple(self._front(section) for section in of_kind(self._record, "front")),
        )

    def _active_w(self) -> Power | None:
        """What the products draw that take all cores."""
        products = [s for s in of_kind(self._record, "gemm") if s.dtype == "fp32"]
        busiest = max(products, key=lambda section: section.threads, default=None)
        if busiest is None or busiest.threads < cores():
            return None
        return self._power(watts(busiest), f"numpy.matmul of fp32, {busiest.threads} threads")

    def _compute(self, section: Section) -> Compute:
        how = f"numpy.matmul, {GEMM_SIZE} x {GEMM_SIZE}"
        return Compute(
            device="cpu",
            dtype="fp32" if section.dtype == "fp32" else "fp64",
            workload="gemm",
            threads=section.threads,
            gflops=self._value(per_second(section, 1e9), how),
            power_w=self._power(watts(section), how),
        )

    def _codecs(self) -> Iterator[CodecCost]:
        for spec, sections in by_codec(self._record).items():
            names = ", ".join(self._record.fronts[s.front or 0].name for s in sections)
            yield CodecCost(
                spec=make_codec(spec).spec,
                threads=self._threads,
                encode_mbs=self._value(codec_mbs(sections, "encode"), f"smashed data of {names}"),
                decode_mbs=self._value(codec_mbs(sections, "decode"), f"smashed data of {names}"),
            )

    def _front(self, section: Section) -> FrontCost:
        fronts = self._record.fronts
        front = fronts[section.front or 0]
        alike = [one for one in fronts if (one.model, one.cut) == (front.model, front.cut)]
        # Bundles of one model and cut may differ in its arguments, which no name holds.
        model = front.model if len(alike) == 1 else f"{front.model} ({front.name})"
        how = f"bundle {front.bundle[:12]}, input {'x'.join(map(str, front.input_shape))}"
        return FrontCost(
            model=_plain(model),
            cut=_plain(front.cut),
            device="cpu",
            batch=front.batch,
            threads=section.threads,
            forward_ms=self._value(phase_ms(section, "forward"), how),
            backward_ms=self._value(phase_ms(section, "backward"), how),
            update_ms=self._value(
                phase_ms(section, "update"), f"{how}, {self._record.settings['optimizer']}"
            ),
            peak_mib=self._value(peak_mib(front.peak_bytes), f"{how}, a process of its own"),
        )

    def _phases(self) -> Iterator[PhaseCost]:
        """What phases draw above idle, over all sections in which that could be told."""
        found: dict[str, list[PhaseJoules]] = {}
        for section in self._record.sections:
            for phase in section.energy:
                found.setdefault(phase.phase, []).append(phase)
        for name in ("load", "forward", "encode", "decode", "backward", "update"):
            drawn = above_idle_w(found.get(name, ()))
            if drawn is not None:
                power = self._power(drawn, "regression of readings on phases")
                yield PhaseCost(name=name, dynamic_w=power)

    def _links(self) -> Iterator[Link]:
        link = self._record.link
        if link is None:
            return
        yield Link(
            name=link.name,
            note=_plain(link.note),
            up_mbits=self._interval(link.up_mbits, "to the peer"),
            down_mbits=self._interval(link.down_mbits, "from the peer"),
            rtt_ms=self._interval(link.rtt_ms, "to the peer and back"),
        )

    def _sensors(self) -> Iterator[Sensor]:
        sensor = self._record.sensor
        if sensor is not None:
            yield Sensor(
                driver=sensor.kind,
                scope=sensor.scope,
                total=sensor.total,
                note=_plain(sensor.note),
            )

    def _value(self, figure: Figure | None, how: str) -> Value | None:
        return None if figure is None else Value(**self._fields(figure, how))

    def _power(self, figure: Figure | None, how: str) -> Power | None:
        sensor = self._record.sensor
        if figure is None or sensor is None or figure.value < 0:
            return None
        return Power(**self._fields(figure, f"sensor {sensor.name}, {how}"), scope=sensor.scope)

    def _interval(self, interval: Interval | None, how: str) -> Value | None:
        if interval is None:
            return None
        runs = int(self._record.settings["repetitions"])
        return self._value(Figure(interval.value, interval.low, interval.high, runs), how)

    def _fact(self, number: float, how: str) -> Value:
        return Value(**self._fields(Figure(number, None, None, 1), how))

    def _fields(self, figure: Figure, how: str) -> dict[str, Any]:
        return {
            "value": _six(figure.value),
            "low": None if figure.low is None else _six(figure.low),
            "high": None if figure.high is None else _six(figure.high),
            "runs": figure.runs,
            "kind": "measured",
            "source": _plain(f"{self._source}: {how}"),
            "date": self._record.date[:10],
        }


def above_idle_w(phases: Iterable[PhaseJoules]) -> Figure | None:
    """What a phase draws above idle, over several fronts or codecs.

    Args:
        phases: That phase, once a section; sections in which it could not be told do not count.

    Returns:
        All their joules by all their seconds, and an interval that holds every section's own;
        None if none could be told, or if all of the interval is below zero.
    """
    told = [(p, p.above_idle_joules_per_step) for p in phases if p.seconds_per_step > 0]
    known = [(phase.seconds_per_step, joules) for phase, joules in told if joules is not None]
    if not known:
        return None
    value = sum(j.value for _, j in known) / sum(s for s, _ in known)
    low = min(j.low / s for s, j in known)
    high = max(j.high / s for s, j in known)
    if high < 0:
        return None
    # Noise around nothing is nothing.
    return Figure(min(max(value, low, 0.0), high), low, high, len(known))


def _six(number: float) -> float:
    """Six digits that count, which keeps an interval around its value."""
    return float(f"{number:.6g}")


def _plain(text: str) -> str:
    """A text that a profile may hold."""
    shown = "".join(c if c.isprintable() else "?" for c in text)
    return shown if len(shown) <= _MOST_TEXT else f"{shown[: _MOST_TEXT - 3]}..."

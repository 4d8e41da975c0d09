"""From what was measured of a board to its profile."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
import psutil

from slfac.cli.profile_fit import Fits
from slfac.codec import make_codec
from slfac.device.energy.calibrated import plain_name
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
from slfac.device.profiling.record import PhaseJoules, Record, Section
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
from slfac.wire.costs import Costs, costs_id

_MODE = re.compile(r"(\d{1,9})(?: \((.+)\))?")
_MOST_TEXT = 900


def profile_of(record: Record, host: Host, costs: Sequence[Costs | None] = ()) -> Profile:
    """Make a profile; what was not measured is left out.

    Args:
        record: The measurement.
        host: The machine that was measured, for its cores, clock and memory.
        costs: What each of the fronts costs; None of those that do not say.
    """
    return _Maker(record, costs).profile(host)


class _Maker:
    """Makes the tables of one profile."""

    def __init__(self, record: Record, costs: Sequence[Costs | None]) -> None:
        self._record = record
        self._costs = dict(enumerate(costs))
        # The whole command line stands in the provenance: some have dozens of bundles.
        self._source = "slfac profile run"
        self._threads = int(record.settings.get("threads", "1"))
        self._fits = Fits(record, self._costs, self._source, self._threads)

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
            command=_plain(record.command),
            runs=int(record.settings["repetitions"]),
            throttled=any(known) if known else None,
            machine={name: _plain(text) for name, text in record.machine.items()},
            versions={name: _plain(text) for name, text in record.versions.items()},
            note=_plain("; ".join([*record.notes, self._fits.lacking]).strip("; ")),
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
            phases=self._phases(),
            codecs=tuple(self._codecs()),
            fronts=tuple(self._front(section) for section in of_kind(self._record, "front")),
            memories=self._fits.memories(),
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
        for given, sections in by_codec(self._record).items():
            spec = make_codec(given).spec
            fitted = self._fits.codec(spec, sections)
            if fitted is not None:
                yield fitted
                continue
            names = ", ".join(self._record.fronts[s.front or 0].name for s in sections)
            yield CodecCost(
                spec=spec,
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
        costs = self._costs.get(section.front or 0)
        return FrontCost(
            costs="" if costs is None else costs_id(costs),
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

    def _phases(self) -> tuple[PhaseCost, ...]:
        """What phases take, where that was fitted, and what they draw, where that was told."""
        costs = {cost.name: cost for cost in self._fits.phases()}
        drawn: dict[str, list[PhaseJoules]] = {}
        for section in self._record.sections:
            for phase in section.energy:
                drawn.setdefault(phase.phase, []).append(phase)
        for name in ("load", "forward", "encode", "decode", "backward", "update"):
            above = above_idle_w(drawn.get(name, ()))
            if above is not None:
                power = self._power(above, "regression of readings on phases")
                cost = costs.get(name) or PhaseCost(name=name, threads=self._threads)
                costs[name] = msgspec.structs.replace(cost, dynamic_w=power)
        return tuple(costs.values())

    def _links(self) -> Iterator[Link]:
        link = self._record.link
        if link is None:
            return
        through = f" through {link.interface}" if link.interface else ""
        how = f"to the peer at {link.peer}{through}"
        up, down, rtt = (
            self._value(Figure(side.value, side.low, side.high, link.runs), how)
            for side in (link.up_mbits, link.down_mbits, link.rtt_ms)
        )
        yield Link(
            name=_plain(link.name),
            note=_plain(link.note),
            up_mbits=up,
            down_mbits=down,
            rtt_ms=rtt,
        )

    def _sensors(self) -> Iterator[Sensor]:
        sensor = self._record.sensor
        # Of one that was calibrated, the profile with its gain has the entry.
        if sensor is not None and plain_name(sensor.name) == sensor.name:
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

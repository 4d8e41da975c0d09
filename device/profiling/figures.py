"""Figures of a measurement, with 95 % intervals over the repetitions that were not throttled."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from slfac.device.profiling.record import LinkFacts, Record, Repetition, Section
from slfac.device.profiling.spread import Figure, student


@dataclass(frozen=True)
class Row:
    """A figure as a table shows it.

    Attributes:
        what: What was measured.
        figure: How much; None where it is unknown.
        unit: Of what.
        why: Why it is unknown; empty where it is not.
    """

    what: str
    figure: Figure | None
    unit: str
    why: str = ""

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """What, mean with unit, interval, repetitions."""
        if self.figure is None:
            return (self.what, "unknown", self.why, "")
        interval = ""
        if self.figure.low is not None and self.figure.high is not None:
            interval = f"{digits(self.figure.low)} to {digits(self.figure.high)}"
        runs = str(self.figure.runs) if self.figure.runs else ""
        return (self.what, f"{digits(self.figure.value)} {self.unit}", interval, runs)


def intervals(record: Record) -> str:
    """How intervals came about, for people.

    Args:
        record: The measurement.
    """
    joules = "; of millijoules, over steps, by a bootstrap" if record.sensor else ""
    return f"mean and 95 % interval over runs, after Student{joules}"


def digits(value: float, count: int = 4) -> str:
    """A number for people.

    Args:
        value: The number.
        count: How many digits count.
    """
    if abs(value) >= 10 ** (count - 1):
        return f"{value:.0f}"
    return f"{value:.{count}g}" if abs(value) >= 1e-3 or not value else f"{value:.{count - 1}e}"


def counted(section: Section) -> list[Repetition]:
    """Repetitions that were not throttled.

    Args:
        section: Where they are.
    """
    return [one for one in section.repetitions if not one.throttled]


def unknown_because(section: Section) -> str:
    """Why a section has no figures.

    Args:
        section: The section.
    """
    return section.failed or "every repetition was throttled"


def per_second(section: Section, unit: float) -> Figure | None:
    """How much was done a second, of what the section counts.

    Args:
        section: A matrix product, or memory.
        unit: Such as 1e9 for thousand millions.
    """
    return student(
        [section.amount * one.count / (one.end_s - one.begin_s) / unit for one in counted(section)]
    )


def phase_ms(section: Section, phase: str) -> Figure | None:
    """How long a phase takes.

    Args:
        section: Of a front or a codec.
        phase: Its name.

    Returns:
        Milliseconds; None where it is unknown.
    """
    return student(
        [1e3 * one.seconds[phase] / one.count for one in counted(section) if phase in one.seconds]
    )


def watts(section: Section) -> Figure | None:
    """What the board drew meanwhile; None where no sensor saw it.

    Args:
        section: The section.
    """
    return student([one.watts for one in counted(section) if one.watts is not None])


def idle_w(record: Record) -> Figure | None:
    """What the board draws with nothing to do, before and after together.

    Args:
        record: The measurement.
    """
    parts = [one for section in of_kind(record, "idle") for one in counted(section)]
    return student([one.watts for one in parts if one.watts is not None])


def codec_mbs(sections: Iterable[Section], phase: str) -> Figure | None:
    """How many 10**6 bytes of float32 a codec encodes or decodes a second, over all fronts.

    Args:
        sections: Those of one codec, one a front.
        phase: ``encode`` or ``decode``.

    Returns:
        The figure; None unless each front has repetitions. The n-th repetitions of all fronts
        are taken together.
    """
    columns = [counted(section) for section in sections]
    amounts = [section.amount for section in sections]
    rates = []
    for row in zip(*columns, strict=False):
        done = sum(amount * one.count for amount, one in zip(amounts, row, strict=True))
        taken_s = sum(one.seconds.get(phase, 0.0) for one in row)
        if taken_s > 0:
            rates.append(done / taken_s / 1e6)
    return student(rates)


def peak_mib(peak_bytes: Iterable[int]) -> Figure | None:
    """Memory at its peak.

    Args:
        peak_bytes: One a process.
    """
    return student([peak / 2**20 for peak in peak_bytes])


def of_kind(record: Record, kind: str) -> list[Section]:
    """Sections of a kind.

    Args:
        record: The measurement.
        kind: Such as ``gemm``.
    """
    return [section for section in record.sections if section.kind == kind]


def by_codec(record: Record) -> dict[str, list[Section]]:
    """Sections of each codec.

    Args:
        record: The measurement.
    """
    found: dict[str, list[Section]] = {}
    for section in of_kind(record, "codec"):
        found.setdefault(section.codec, []).append(section)
    return found


def table(record: Record) -> Iterator[Row]:
    """Every figure, in the order in which it was measured.

    Args:
        record: The measurement.
    """
    if record.sensor is not None:
        figure = idle_w(record)
        yield Row("idle", figure, "W", "" if figure else "too few readings")
    for section in record.sections:
        if section.kind == "gemm":
            yield _row(section, per_second(section, 1e9), "GFLOP/s")
        elif section.kind in ("copy", "set"):
            yield _row(section, per_second(section, 1e9), "GB/s")
        if section.kind in ("gemm", "copy", "set") and (drawn := watts(section)):
            yield Row(f"{section.label}, drawn", drawn, "W")
        if section.kind in ("front", "codec"):
            yield from _phases(section)
        if section.kind == "front" and section.front is not None:
            front = record.fronts[section.front]
            yield Row(f"front {front.name}: peak memory", peak_mib(front.peak_bytes), "MiB")
    if record.link is not None:
        yield from _link(record.link)


def _row(section: Section, figure: Figure | None, unit: str) -> Row:
    return Row(section.label, figure, unit, "" if figure else unknown_because(section))


def _phases(section: Section) -> Iterator[Row]:
    names = list(dict.fromkeys(name for one in section.repetitions for name in one.seconds))
    drawn = {phase.phase: phase for phase in section.energy}
    for name in names:
        label = f"{section.label}: {name}"
        figure = phase_ms(section, name)
        yield Row(label, figure, "ms", "" if figure else unknown_because(section))
        if name not in drawn:
            continue
        joules = drawn[name].joules_per_step
        if joules is None:
            yield Row(f"{label}, drawn", None, "mJ", drawn[name].unresolved)
        else:
            # Its interval is over steps, not over repetitions.
            found = Figure(1e3 * joules.value, 1e3 * joules.low, 1e3 * joules.high, 0)
            yield Row(f"{label}, drawn", found, "mJ")


def _link(link: LinkFacts) -> Iterator[Row]:
    for name, interval, unit in (
        ("up", link.up_mbits, "Mbit/s"),
        ("down", link.down_mbits, "Mbit/s"),
        ("round trip", link.rtt_ms, "ms"),
    ):
        figure = Figure(interval.value, interval.low, interval.high, link.runs)
        yield Row(f"link {link.name}: {name}", figure, unit)

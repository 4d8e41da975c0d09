"""The account of a run's energy as a JSON document, and its way to a file and back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from slfac.device.energy.conditions import Conditions
from slfac.wire.errors import SettingsError
from slfac.wire.messages import Phase, Scope

MOST_BYTES = 32 << 20
Number = Annotated[float, Meta(ge=-1e15, le=1e15)]
Positive = Annotated[float, Meta(ge=0, le=1e15)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Text = Annotated[str, Meta(max_length=4096)]
Numbers = Annotated[tuple[Number, ...], Meta(max_length=100_000)]
Spans = Annotated[tuple[tuple[Number, Number], ...], Meta(max_length=100_000)]


class _Part(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all parts have in common."""


class Interval(_Part, frozen=True):
    """A value and its 95 % interval."""

    value: Number
    low: Number
    high: Number


class Spent(_Part, frozen=True):
    """Energy of a stretch of time.

    Attributes:
        joules: Of the time that readings cover; None where they cover nothing.
        known: Its energy; None where readings cover less than 95 % of it.
        covered_s: How long readings cover.
        missing_s: The rest.
    """

    joules: Positive | None
    known: Positive | None
    covered_s: Positive
    missing_s: Positive


class RoundSpent(_Part, frozen=True):
    """What a round took; one that was made again is there twice."""

    round: Count
    spent: Spent


class PhaseFigures(_Part, frozen=True):
    """What a phase takes in a step; see :class:`slfac.device.energy.means.MeanPhase`."""

    phase: Phase
    ms: Positive
    joules: Interval | None
    above_idle_joules: Interval | None
    watts: Interval | None
    unresolved: Text


class LeftOut(_Part, frozen=True):
    """Something that is not in the phases; see :class:`slfac.device.energy.results.Dropped`."""

    what: Text
    amount: Number
    why: Text


class SensorFacts(_Part, frozen=True):
    """The sensor that was read, and how that went.

    Attributes:
        name: What ``--sensor`` calls it; ``none`` without one.
        kind: Its driver.
        scope: What it measures; None without one.
        gives: ``energy`` if it counts joules.
        total: Rails that add up to that.
        place: What was read.
        note: What a reader of its figures must know.
        reads: How often it was read.
        failures: How often that failed.
        error: What the last failure said.
        lost: Whether it gave nothing any more at the end.
        cpu_s: Processor time of the thread that read it.
        reading_s: Time within reads.
        running_s: How long that thread ran.
    """

    name: Text
    kind: Text
    scope: Scope | None
    gives: Literal["power", "energy", "nothing"]
    total: tuple[Text, ...]
    place: Text
    note: Text
    reads: Count
    failures: Count
    error: Text
    lost: bool
    cpu_s: Positive
    reading_s: Positive
    running_s: Positive


class Readings(_Part, frozen=True):
    """What the sensor said: when, mean of how long before, and how many watts."""

    t_s: Numbers
    window_s: Numbers
    watts: Numbers


class Recently(_Part, frozen=True):
    """The last rounds, for drawing; in seconds since the device was let in.

    Attributes:
        begin_s: From when on.
        end_s: Until when.
        readings: What the sensor said.
        spans: By phase, when it ran.
        steps: When steps were made.
        throttled: When the board was; None where that cannot be known.
    """

    begin_s: Number
    end_s: Number
    readings: Readings
    spans: dict[Phase, Spans]
    steps: Spans
    throttled: Spans | None


class EnergyReport(_Part, frozen=True):
    """The account of one device's run.

    Attributes:
        schema: The version of this structure.
        slfac: The release that wrote it.
        date: When it was written, ISO 8601.
        run: Id of the run.
        device: Name of the device.
        bundle: Id of the bundle.
        sensor: What was read.
        before: Temperatures, clocks and so on at the beginning.
        after: The same at the end.
        waiting: Energy before the device was first let in.
        total: Energy from then on.
        rounds: Energy by round, of the last 10000.
        phases: What phases of a step take, and the step itself.
        steps: Steps that these are the mean of.
        read: Readings behind them.
        idle_w: Idle power; None where not resolved.
        lag_s: How late the sensor is; None where not resolved.
        left_out: What is not in the phases.
        looking_s: How long it took to tell phases apart.
        recently: The last rounds; None without any.
    """

    schema: Literal[1]
    slfac: Text
    date: Text
    run: Text
    device: Text
    bundle: Text
    sensor: SensorFacts
    before: Conditions
    after: Conditions
    waiting: Spent
    total: Spent
    rounds: tuple[RoundSpent, ...]
    phases: tuple[PhaseFigures, ...]
    steps: Count
    read: Count
    idle_w: Interval | None
    lag_s: Interval | None
    left_out: tuple[LeftOut, ...]
    looking_s: Positive
    recently: Recently | None


def write_report(report: EnergyReport, path: Path) -> None:
    """Write a report; one that could not be read again is not written.

    Args:
        report: It.
        path: The file.

    Raises:
        SettingsError: It cannot be written.
    """
    data = msgspec.json.format(msgspec.json.encode(report), indent=0)
    decode_report(data, str(path))
    try:
        path.write_bytes(data + b"\n")
    except OSError as error:
        raise SettingsError(
            f"setting energy_report: cannot write {path}: {error.strerror}",
            "name a file in a folder that can be written",
        ) from error


def decode_report(data: bytes, name: str) -> EnergyReport:
    """Read a report.

    Args:
        data: What its file holds.
        name: What to call it in errors.

    Raises:
        SettingsError: It is no report, or of another version.
    """
    if len(data) > MOST_BYTES:
        raise SettingsError(f"{name} has more than {MOST_BYTES} bytes", "it is no energy report")
    try:
        return msgspec.json.decode(data, type=EnergyReport)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise SettingsError(
            f"{name} is no energy report of schema 1: {error}",
            "give the file that `slfac device --energy-report` of this release wrote",
        ) from error

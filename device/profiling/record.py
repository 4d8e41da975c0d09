"""All that a measurement of a board gave, as it is written to a JSON file and read again."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from slfac.device.energy.conditions import Conditions
from slfac.wire.errors import SettingsError

SCHEMA = 1
_MOST_BYTES = 64 << 20
_REMEDY = "give the .json file that `slfac profile run` wrote"
Number = Annotated[float, Meta(ge=-1e15, le=1e15)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Text = Annotated[str, Meta(max_length=4000)]
Texts = Annotated[tuple[Text, ...], Meta(max_length=1000)]
Numbers = Annotated[tuple[Number, ...], Meta(max_length=1_000_000)]
Spans = Annotated[tuple[tuple[Number, Number], ...], Meta(max_length=10_000)]
Kind = Literal["idle", "gemm", "copy", "set", "front", "codec"]


class _Part(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all parts have in common."""


class Interval(_Part, frozen=True):
    """A value and its 95 % interval."""

    value: Number
    low: Number
    high: Number


class Repetition(_Part, frozen=True):
    """One repetition of something.

    Attributes:
        begin_s: When it began, in seconds since the measurement did.
        end_s: When it ended.
        count: How often it was done meanwhile.
        seconds: By phase, how long that ran in all; empty where there are none.
        throttled: Whether the board's clock was held down; None where that cannot be known.
        watts: Mean power; None where it was not seen well enough.
    """

    begin_s: Number
    end_s: Number
    count: Count
    seconds: dict[str, Number] = {}
    throttled: bool | None = None
    watts: Number | None = None


class PhaseJoules(_Part, frozen=True):
    """What one phase of a step draws; see :class:`slfac.device.energy.results.PhaseEnergy`."""

    phase: Text
    seconds_per_step: Number
    joules_per_step: Interval | None = None
    above_idle_joules_per_step: Interval | None = None
    watts: Interval | None = None
    unresolved: Text = ""


class LeftOut(_Part, frozen=True):
    """What was left out of energies; see :class:`slfac.device.energy.results.Dropped`."""

    what: Text
    amount: Number
    why: Text


class Section(_Part, frozen=True):
    """One thing that was measured.

    Attributes:
        kind: ``idle``; ``gemm``: a matrix product; ``copy`` and ``set``: of memory; ``front``:
            training steps without a server; ``codec``: encoding and decoding what a front gives.
        label: What it is, for people.
        begin_s: When it began.
        end_s: When it ended.
        dtype: Of a matrix product.
        threads: Of all but idle.
        front: Which of the fronts; None without one.
        codec: Spec of the codec.
        amount: What is done once: FLOP of a product, bytes that are copied or set, bytes of
            float32 that are encoded.
        payload_bytes: What the codec made of that.
        repetitions: Those that were made, throttled ones too.
        energy: What phases draw.
        step: What a step draws.
        left_out: What was left out of these two.
        spans: By phase, when it ran, for a part of the steps.
        failed: Why there are no repetitions; empty where there are.
    """

    kind: Kind
    label: Text
    begin_s: Number
    end_s: Number
    dtype: Text = ""
    threads: Count = 0
    front: Count | None = None
    codec: Text = ""
    amount: Number = 0.0
    payload_bytes: Count = 0
    repetitions: Annotated[tuple[Repetition, ...], Meta(max_length=1000)] = ()
    energy: Annotated[tuple[PhaseJoules, ...], Meta(max_length=32)] = ()
    step: PhaseJoules | None = None
    left_out: Annotated[tuple[LeftOut, ...], Meta(max_length=32)] = ()
    spans: Annotated[dict[str, Spans], Meta(max_length=32)] = {}
    failed: Text = ""


class FrontFacts(_Part, frozen=True):
    """A front that was measured.

    Attributes:
        name: Its bundle's folder.
        bundle: The bundle's id.
        model: What was exported.
        cut: Where it was cut.
        input_shape: Of a sample.
        smashed_shapes: Of a sample, one a tensor at the cut.
        parameters: How many numbers are trained.
        batch: Samples of a batch.
        data: What batches were made of.
        peak_bytes: Most memory of a process that trains it, one a repetition.
    """

    name: Text
    bundle: Text
    model: Text
    cut: Text
    input_shape: tuple[Count, ...]
    smashed_shapes: tuple[tuple[Count, ...], ...]
    parameters: Count
    batch: Count
    data: Text
    peak_bytes: tuple[Count, ...]


class SensorFacts(_Part, frozen=True):
    """The sensor that was read, and how that went.

    Attributes:
        name: What ``--sensor`` calls it.
        kind: Its driver.
        scope: What it measures.
        total: Rails that add up to that.
        place: What was read.
        note: What a reader of its figures must know.
        counted: Whether it counts joules.
        reads: How often it was read.
        failures: How often that failed.
        error: What the last failure said.
        lost_s: Since when it has given nothing, to the end; None if it did.
        cpu_s: Processor time that reading it took.
    """

    name: Text
    kind: Text
    scope: Literal["soc", "module", "board", "wall"]
    total: Texts
    place: Text
    note: Text
    counted: bool
    reads: Count
    failures: Count
    error: Text
    lost_s: Number | None
    cpu_s: Number


class Readings(_Part, frozen=True):
    """What the sensor said: when, of how long, and how many watts."""

    t_s: Numbers = ()
    window_s: Numbers = ()
    watts: Numbers = ()


class BoardFacts(_Part, frozen=True):
    """Which board it was.

    Attributes:
        name: As profiles call it.
        title: As people do.
        model: What its device tree says; empty without one.
        model_match: The piece of that by which it was recognised; empty if it was not.
    """

    name: Text
    title: Text
    model: Text = ""
    model_match: Text = ""


class LinkFacts(_Part, frozen=True):
    """A link that was measured.

    Attributes:
        name: Such as ``wifi``.
        peer: The peer's address.
        interface: Through which it was reached; empty where the system does not tell.
        runs: Repetitions.
        note: What a reader must know.
        up_mbits: 10**6 bits a second, sent.
        down_mbits: The same, received.
        rtt_ms: Round trip.
    """

    name: Text
    peer: Text
    interface: Text
    runs: Count
    note: Text
    up_mbits: Interval
    down_mbits: Interval
    rtt_ms: Interval


class Record(_Part, frozen=True):
    """A measurement; a ``.json`` file is this structure.

    Attributes:
        schema: The version of this structure.
        command: What made it.
        date: When it began, ISO 8601.
        seconds: How long it took.
        board: Which board it was.
        machine: Processor, cores, memory, system.
        versions: Package -> version.
        settings: What was asked for, as text.
        before: Temperatures, clocks and so on at the beginning.
        after: The same at the end.
        sensor: What was read; None without a sensor.
        notes: What a reader must know.
        fronts: Fronts that were measured.
        sections: What was measured, in order.
        readings: What the sensor said.
        link: The link to a peer, where one was named.
    """

    schema: int
    command: Text
    date: Text
    seconds: Number
    board: BoardFacts
    machine: Annotated[dict[str, Text], Meta(max_length=100)]
    versions: Annotated[dict[str, Text], Meta(max_length=100)]
    settings: Annotated[dict[str, Text], Meta(max_length=100)]
    before: Conditions
    after: Conditions
    sensor: SensorFacts | None
    notes: Texts
    fronts: Annotated[tuple[FrontFacts, ...], Meta(max_length=64)]
    sections: Annotated[tuple[Section, ...], Meta(max_length=10_000)]
    readings: Readings
    link: LinkFacts | None = None


def encode_record(record: Record) -> bytes:
    """A measurement as JSON.

    Args:
        record: The measurement.
    """
    return msgspec.json.encode(record) + b"\n"


def read_record(path: Path) -> Record:
    """Read a measurement.

    Args:
        path: The file.

    Returns:
        The measurement.

    Raises:
        SettingsError: The file cannot be read, is of another version, or something in it is wrong.
    """
    try:
        # A pipe would block for ever.
        if not stat.S_ISREG(path.stat().st_mode):
            raise SettingsError(f"{path} is no file", _REMEDY)
        with path.open("rb") as stream:
            raw = stream.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or error
        raise SettingsError(f"cannot read {path}: {said}", _REMEDY) from error
    if len(raw) > _MOST_BYTES:
        raise SettingsError(f"{path} has more than {_MOST_BYTES} bytes", _REMEDY)
    try:
        schema = msgspec.json.decode(raw, type=_Versioned).schema
        if schema != SCHEMA:
            raise SettingsError(
                f"{path}: schema is {schema}, this slfac reads {SCHEMA}",
                "use the release that wrote it",
            )
        record = msgspec.json.decode(raw, type=Record)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise SettingsError(f"{path} is no record of a measurement: {error}", _REMEDY) from error
    _check(record, path)
    return record


class _Versioned(Struct):
    schema: int


def _check(record: Record, path: Path) -> None:
    """What types do not say."""
    said = record.readings
    if not len(said.t_s) == len(said.window_s) == len(said.watts):
        raise SettingsError(f"{path}: field readings has columns of different lengths", _REMEDY)
    for number, section in enumerate(record.sections):
        if section.front is not None and section.front >= len(record.fronts):
            raise SettingsError(
                f"{path}: field sections[{number}].front is {section.front}, there are "
                f"{len(record.fronts)} fronts",
                _REMEDY,
            )
        for repetition in section.repetitions:
            if not (repetition.count and repetition.end_s > repetition.begin_s):
                raise SettingsError(
                    f"{path}: field sections[{number}].repetitions has an empty one", _REMEDY
                )

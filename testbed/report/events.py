"""The events of a run's metrics, read from a file that may be damaged or cut short."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from slfac.wire.errors import SettingsError

METRICS_NAME = "metrics.jsonl"
_MAX_LINE_BYTES = 1 << 24
_MAX_FILE_BYTES = 1 << 33
_decoder = msgspec.json.Decoder(dict[str, Any])
# Bounds beyond which sums, or what is drawn of them, would not be numbers any more.
Count = Annotated[int, Meta(ge=0, le=2**60)]
Amount = Annotated[float, Meta(ge=0, le=1e15)]
Number = Annotated[float, Meta(ge=-1e30, le=1e30)]
Share = Annotated[float, Meta(ge=0, le=1)]
Counts = dict[str, Count]
# Times without a zone cannot be compared with others.
Time = Annotated[dt.datetime, Meta(tz=True)]


class Scope(Struct, frozen=True):
    """Energy of a scope in a round."""

    joules: Number | None = None


class Spent(Struct, frozen=True):
    """Energy that a device spent over a run."""

    joules: Number = 0.0
    covered_s: Amount = 0.0


class DeviceEnergy(Struct, frozen=True):
    """What a device said that it has spent."""

    spent: dict[str, Spent] = {}


class Clock(Struct, frozen=True):
    """What a device measured of the server's clock."""

    offset_ms: Number | None = None


class Summary(Struct, frozen=True):
    """What a device said when it left."""

    samples: Count
    torch_imported: bool
    peak_rss_bytes: Count
    provider: str = ""


class Begun(Struct, frozen=True):
    """``run``: the first event."""

    run: str
    time: Time
    settings: dict[str, Any]
    model: str
    cut: str
    mode: str = ""
    test_samples: Count | None = None
    slfac: str = ""
    torch: str = ""
    python: str = ""
    revision: str = ""
    machine: str = ""
    torch_device: str = ""
    precision: str = ""
    threads: Count | None = None
    simulated: bool = False


class Round(Struct, frozen=True):
    """``round``: at the end of each."""

    round: Count
    time: Time
    seconds: Amount
    bytes_up: Count
    bytes_down: Count
    float32_bytes_up: Count
    float32_bytes_down: Count
    train_loss: Number | None = None
    accuracy: Share | None = None
    balanced_accuracy: Share | None = None
    loss: Number | None = None
    recall: tuple[Share | None, ...] | None = None
    confusion: tuple[tuple[Count, ...], ...] | None = None
    energy: dict[str, Scope] = {}
    energy_unknown: Count = 0
    clocks: dict[str, dict[str, Any] | None] = {}


class Step(Struct, frozen=True):
    """``step``: one of a device's."""

    device: str
    time: Time
    samples: Count = 0
    bytes_up: Count = 0
    bytes_down: Count = 0
    phase_ms: dict[str, Amount] | None = None


class Device(Struct, frozen=True):
    """``device``: at the end, one a device."""

    device: str
    steps: Count
    bytes_up: Count
    bytes_down: Count
    float32_bytes_up: Count
    float32_bytes_down: Count
    wire_bytes_up: Count
    wire_bytes_down: Count
    phase_ms: dict[str, Amount]
    summary: Summary | None = None
    late: Count = 0
    refused: Counts = {}
    energy: DeviceEnergy = DeviceEnergy()


class Coming(Struct, frozen=True):
    """``joined``, ``resumed``, ``reconnected``, ``left``, ``restarted``, and what failed."""

    event: str
    time: Time
    device: str = ""
    round: Count | None = None
    reason: str = ""
    silent_s: Amount | None = None
    finished_rounds: Count | None = None
    measure: str = ""


class End(Struct, frozen=True):
    """``end``: the last event of a run that finished."""

    seconds: Amount = 0.0
    stopped_early: bool = False
    refused_keys: Count = 0
    refused: Counts = {}
    repeated: Count = 0


_KINDS: dict[str, type[Struct]] = {
    "run": Begun,
    "round": Round,
    "step": Step,
    "device": Device,
    "end": End,
    **dict.fromkeys(
        (
            *("joined", "resumed", "reconnected", "left", "restarted", "early_stop"),
            *("evaluation_failed", "checkpoint_failed"),
        ),
        Coming,
    ),
}


def typed(events: Iterable[dict[str, Any]]) -> Iterator[Struct | None]:
    """Events as structures.

    Args:
        events: Decoded lines.

    Yields:
        A structure for each event of a known kind; None for one whose fields are wrong. Kinds
        that are not known, as of newer releases, are passed over.
    """
    for event in events:
        kind = _KINDS.get(event["event"]) if isinstance(event.get("event"), str) else None
        if kind is None:
            if not isinstance(event.get("event"), str):
                yield None
            continue
        try:
            yield msgspec.convert(event, kind)
        except (msgspec.ValidationError, RecursionError):
            yield None


def read_lines(path: Path) -> Iterator[dict[str, Any] | None]:
    """Decode a file of JSON lines.

    Args:
        path: The file.

    Yields:
        Each line's object; None for a line that is none, such as a last one cut short.

    Raises:
        SettingsError: The file cannot be read, or is too large to be one.
    """
    try:
        with path.open("rb") as file:
            if path.stat().st_size > _MAX_FILE_BYTES:
                raise SettingsError(f"{path} is larger than {_MAX_FILE_BYTES} bytes")
            while line := file.readline(_MAX_LINE_BYTES):
                try:
                    yield _decoder.decode(line)
                except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
                    yield None
    except OSError as error:
        raise SettingsError(
            f"cannot read {path}: {error.strerror or error}",
            "give a run's folder: what `slfac server --out` or an experiment wrote",
        ) from error

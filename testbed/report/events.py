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
Counts = dict[str, int]
# Times without a zone cannot be compared with others.
Time = Annotated[dt.datetime, Meta(tz=True)]


class Scope(Struct, frozen=True):
    """Energy of a scope in a round."""

    joules: float | None = None


class Spent(Struct, frozen=True):
    """Energy that a device spent over a run."""

    joules: float = 0.0
    covered_s: float = 0.0


class DeviceEnergy(Struct, frozen=True):
    """What a device said that it has spent."""

    spent: dict[str, Spent] = {}


class Clock(Struct, frozen=True):
    """What a device measured of the server's clock."""

    offset_ms: float | None = None


class Summary(Struct, frozen=True):
    """What a device said when it left."""

    samples: int
    torch_imported: bool
    peak_rss_bytes: int
    provider: str = ""


class Begun(Struct, frozen=True):
    """``run``: the first event."""

    run: str
    time: Time
    settings: dict[str, Any]
    model: str
    cut: str
    mode: str = ""
    test_samples: int | None = None
    slfac: str = ""
    torch: str = ""
    python: str = ""
    revision: str = ""
    machine: str = ""
    torch_device: str = ""
    precision: str = ""
    threads: int | None = None


class Round(Struct, frozen=True):
    """``round``: at the end of each."""

    round: int
    time: Time
    seconds: float
    bytes_up: int
    bytes_down: int
    float32_bytes_up: int
    float32_bytes_down: int
    train_loss: float | None = None
    accuracy: float | None = None
    balanced_accuracy: float | None = None
    loss: float | None = None
    recall: tuple[float | None, ...] | None = None
    confusion: tuple[tuple[int, ...], ...] | None = None
    energy: dict[str, Scope] = {}
    energy_unknown: int = 0
    clocks: dict[str, dict[str, Any] | None] = {}


class Step(Struct, frozen=True):
    """``step``: one of a device's."""

    device: str
    time: Time
    samples: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    phase_ms: dict[str, float] | None = None


class Device(Struct, frozen=True):
    """``device``: at the end, one a device."""

    device: str
    steps: int
    bytes_up: int
    bytes_down: int
    float32_bytes_up: int
    float32_bytes_down: int
    wire_bytes_up: int
    wire_bytes_down: int
    phase_ms: dict[str, float]
    summary: Summary | None = None
    late: int = 0
    refused: Counts = {}
    energy: DeviceEnergy = DeviceEnergy()


class Coming(Struct, frozen=True):
    """``joined``, ``resumed``, ``reconnected``, ``left``, ``restarted``, and what failed."""

    event: str
    time: Time
    device: str = ""
    round: int | None = None
    reason: str = ""
    silent_s: float | None = None
    finished_rounds: int | None = None
    measure: str = ""


class End(Struct, frozen=True):
    """``end``: the last event of a run that finished."""

    seconds: float = 0.0
    stopped_early: bool = False
    refused_keys: int = 0
    refused: Counts = {}
    repeated: int = 0


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
